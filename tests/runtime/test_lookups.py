"""Lookups of every form, in the C++ engine: bit for bit what the operator gives, one feature at a time."""

from __future__ import annotations

from pathlib import Path

import handmade
import numpy as np
import pytest
import torch
from handmade import Rows, dense, keyed, lookup, output
from torch import Tensor, nn
from torch.export import Dim

from recpile.pycompiler.lower import LoweredStage
from recpile.pycompiler.operators import POOLINGS, packed_embedding_bags
from recpile.pycompiler.packing import FBGEMM_TYPES, unpack
from recpile.runtime_cpp import Engine

torch.manual_seed(0)
TABLES = {
    "a": Rows.of(torch.randn(10, 8)),
    "b": Rows.of(torch.randn(20, 4), "fp16"),
    "c": Rows.of(torch.randn(30, 8), "int8"),
}


def engine(folder: Path, inputs: list[dict], stage: dict, width: int, tables: dict[str, Rows] = TABLES) -> Engine:
    """A model that is one lookup, and gives what comes out of it."""
    outputs = [output("out", f"{stage['name']}/out", ["candidate", width])]
    return Engine(str(handmade.write(folder / "lookup.pt2", inputs, [stage], outputs, tables)), instances=1)


def infer(engine: Engine, **inputs: Tensor) -> Tensor:
    named = {name.replace("__", "."): value.numpy() for name, value in inputs.items()}
    return torch.from_numpy(engine.infer(named)["out"].copy())


def bag(table: str, ids: Tensor, lengths: Tensor, pooling: str = "sum", weights: Tensor | None = None) -> Tensor:
    """One feature: ids [nnz] in bags [N]."""
    rows = TABLES[table]
    return packed_embedding_bags(
        [rows.packed],
        [rows.dim],
        [FBGEMM_TYPES[rows.dtype]],
        [ids],
        [lengths.reshape(1, -1)],
        [] if weights is None else [weights],
        [0],
        [0],
        [0],
        POOLINGS.index(pooling),
    )


def columns(table: str, ids: Tensor, pooling: str = "sum", weights: Tensor | None = None) -> Tensor:
    """One feature of a fixed source: each row of ids [N, size] is a bag."""
    lengths = torch.full((ids.shape[0],), ids.shape[1])
    return bag(table, ids.reshape(-1), lengths, pooling, None if weights is None else weights.reshape(-1))


def ids(*shape: int, below: int = 10, dtype: torch.dtype = torch.int64, seed: int = 1) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("rows", [1, 2, 70])
def test_columns_of_a_dense_input_are_bags(tmp_path, pooling, dtype, rows):
    stage = lookup("look", pooling, [{"values": "x", "columns": 6}], [(0, 1, 3, "a"), (0, 5, 1, "b"), (0, 0, 6, "c")])
    name = {torch.int64: "int64", torch.int32: "int32"}[dtype]
    made = engine(tmp_path, [dense("x", ["candidate", 6], name)], stage, 20)
    x = ids(rows, 6, dtype=dtype)
    wanted = [columns("a", x[:, 1:4], pooling), columns("b", x[:, 5:6], pooling), columns("c", x, pooling)]
    assert torch.equal(infer(made, x=x), torch.cat(wanted, dim=1))


def test_one_bag_a_row_goes_to_the_kernel_as_it_is(tmp_path):
    stage = lookup("look", "sum", [{"values": "x", "columns": 3}], [(0, 0, 3, "c")])
    made = engine(tmp_path, [dense("x", ["candidate", 3], "int64")], stage, 8)
    x = ids(5, 3, below=30)
    assert torch.equal(infer(made, x=x), columns("c", x))


def test_fixed_and_jagged_sources_share_a_weighted_lookup(tmp_path):
    sources = [
        {"values": "x", "columns": 2, "weights": "w"},
        {"values": "s.values", "lengths": "s.lengths", "weights": "s.weights"},
    ]
    stage = lookup("look", "sum", sources, [(0, 0, 2, "a"), (1, 1, "b"), (0, 1, 1, "c"), (1, 0, "c")])
    inputs = [dense("x", ["candidate", 2], "int32"), dense("w", ["candidate", 2]), keyed("s", "pq", weighted=True)]
    made = engine(tmp_path, inputs, stage, 28)
    x, w = ids(4, 2, dtype=torch.int32), torch.rand(4, 2)
    lengths = torch.tensor([[1, 0, 2, 0], [0, 3, 0, 1]])
    values, weights = ids(7), torch.rand(7)
    wanted = [
        columns("a", x, weights=w),
        bag("b", values[3:], lengths[1], weights=weights[3:]),
        columns("c", x[:, 1:], weights=w[:, 1:]),
        bag("c", values[:3], lengths[0], weights=weights[:3]),
    ]
    got = infer(made, x=x, w=w, s__values=values, s__lengths=lengths, s__weights=weights)
    assert torch.equal(got, torch.cat(wanted, dim=1))


class Pick(nn.Module):
    """Row `at` of rows [nnz, dim] for each candidate: so that what has a row an id can come out of a model."""

    def forward(self, rows: Tensor, at: Tensor) -> Tensor:
        return torch.cat([rows, rows.new_zeros(1, rows.shape[1])])[at.clamp(max=rows.shape[0])]


@pytest.fixture(scope="module")
def pick() -> LoweredStage:
    inputs = (torch.ones(3, 4), torch.zeros(5, dtype=torch.int64))
    return handmade.code("pick", Pick(), inputs, ({0: Dim("nnz"), 1: Dim("dim", min=2)}, {0: Dim("rows", min=2)}))


def rows_of(
    folder: Path,
    pick: LoweredStage,
    stage: dict,
    width: int,
    values: Tensor,
    lengths: Tensor,
    tables: dict[str, Rows] = TABLES,
    **options: str,
) -> Tensor:
    """What a lookup of one keyed jagged input `s` gives, a row an id; there are as many ids as candidates."""
    path = handmade.write(
        folder / "rows.pt2",
        [keyed("s", "pqr"[: len(lengths)]), dense("at", ["candidate"], "int64")],
        [stage, handmade.compiled("pick", [f"{stage['name']}/out", "at"], ["rows"])],
        [output("out", "pick/rows", ["candidate", width])],
        tables,
        [pick],
    )
    made = Engine(str(path), instances=1, **options)
    return infer(made, s__values=values, s__lengths=lengths, at=torch.arange(len(values)))


def test_ids_of_a_jagged_input_may_be_looked_up_one_by_one(tmp_path, pick):
    stage = lookup("look", "sum", [{"values": "s.values", "columns": 1}], [(0, 0, 1, "a"), (0, 0, 1, "b")])
    values = ids(3)
    got = rows_of(tmp_path, pick, stage, 12, values, torch.tensor([[1, 0, 1], [0, 1, 0]]))
    assert torch.equal(got, torch.cat([columns("a", values[:, None]), columns("b", values[:, None])], dim=1))


LENGTHS = torch.tensor([[1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]])  # four ids in all, and a key without any


def test_without_pooling_each_id_gets_its_own_row(tmp_path, pick):
    # Table by table: row 1 of lengths is looked up in the first table.
    stage = lookup("look", "none", [{"values": "s.values", "lengths": "s.lengths"}], [(0, 1, "a"), (0, 0, "c")])
    values = torch.tensor([29, 3, 4, 9])
    got = rows_of(tmp_path, pick, stage, 8, values, LENGTHS)
    a, c = (unpack(TABLES[name].packed, TABLES[name].dtype, 8) for name in "ac")
    assert torch.equal(got, torch.cat([c[values[:3]], a[values[3:]]]))


@pytest.mark.parametrize("tables", ["acd", "adc", "dca", "ddd"])
def test_without_pooling_bf16_rows_lie_among_others(tmp_path, pick, tables):
    every = TABLES | {"d": Rows.of(torch.randn(30, 8), "bf16")}
    features = [(0, (2, 0, 1)[f], f"{table}{f}") for f, table in enumerate(tables)]
    stage = lookup("look", "none", [{"values": "s.values", "lengths": "s.lengths"}], features)
    lengths = torch.tensor([[1, 0, 2, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]])
    values = torch.tensor([9, 3, 4, 9, 7, 0, 2])
    got = rows_of(tmp_path, pick, stage, 8, values, lengths, {f"{t}{f}": every[t] for f, t in enumerate(tables)})
    of_key = [unpack(every[tables[f]].packed, every[tables[f]].dtype, 8) for f in (1, 2, 0)]
    assert torch.equal(got, torch.cat([of_key[0][[9, 3, 4]], of_key[1][[9, 7]], of_key[2][[0, 2]]]))


def test_without_pooling_an_id_that_no_table_reads_is_zeros(tmp_path, pick):
    stage = lookup("look", "none", [{"values": "s.values", "lengths": "s.lengths"}], [(0, 1, "a")])
    got = rows_of(tmp_path, pick, stage, 8, torch.tensor([10**9, -1, 4, 9]), LENGTHS)
    assert torch.equal(got[:3], torch.zeros(3, 8))
    assert torch.equal(got[3:], unpack(TABLES["a"].packed, "fp32", 8)[9:10])


def test_without_pooling_rows_in_order_need_no_reordering(tmp_path, pick):
    features = [(0, 0, "a"), (0, 1, "c"), (0, 2, "c")]
    stage = lookup("look", "none", [{"values": "s.values", "lengths": "s.lengths"}], features)
    got = rows_of(tmp_path, pick, stage, 8, torch.tensor([9, 3, 4, 29]), LENGTHS)
    a, c = (unpack(TABLES[name].packed, TABLES[name].dtype, 8) for name in "ac")
    assert torch.equal(got, torch.cat([a[[9, 3, 4]], c[[29]]]))


def test_without_pooling_an_id_that_the_table_lacks_may_be_zeros_too(tmp_path, pick):
    features = [(0, 0, "a"), (0, 1, "c"), (0, 2, "c")]
    stage = lookup("look", "none", [{"values": "s.values", "lengths": "s.lengths"}], features)
    got = rows_of(tmp_path, pick, stage, 8, torch.tensor([9, -1, 10, 29]), LENGTHS, out_of_range="zero")
    a, c = (unpack(TABLES[name].packed, TABLES[name].dtype, 8) for name in "ac")
    assert torch.equal(got, torch.cat([a[[9]], torch.zeros(2, 8), c[[29]]]))


def packed_rows(*rows: list[int]) -> Tensor:
    """Scale 2 and bias 1, both fp16, in front of each row's bytes."""
    header = torch.tensor([2.0, 1.0], dtype=torch.float16).view(torch.uint8)
    return torch.stack([torch.cat([header, torch.tensor(row, dtype=torch.uint8)]) for row in rows])


@pytest.mark.parametrize("pooling", ["sum", "none"])
def test_int4_and_int2_rows_are_read(tmp_path, pick, pooling):
    # The first element lies in the lowest bits.
    tables = {
        "int4": Rows(packed_rows([0x21, 0x43], [0x0F, 0x00]), "int4", 4),
        "int2": Rows(packed_rows([0b11_10_01_00], [0b00_00_00_11]), "int2", 4),
    }
    wanted = torch.tensor([[3.0, 5, 7, 9], [31, 1, 1, 1]]), torch.tensor([[1.0, 3, 5, 7], [7, 1, 1, 1]])
    stage = lookup("look", pooling, [{"values": "s.values", "lengths": "s.lengths"}], [(0, 0, "int4"), (0, 1, "int2")])
    if pooling == "sum":
        made = engine(tmp_path, [keyed("s", "pq")], stage, 8, tables)
        got = infer(made, s__values=torch.tensor([0, 1, 1, 0]), s__lengths=torch.ones(2, 2, dtype=torch.int64))
        assert torch.equal(got, torch.cat([wanted[0], wanted[1][[1, 0]]], dim=1))
    else:
        lengths = torch.tensor([[1, 1, 0], [0, 0, 1]])
        got = rows_of(tmp_path, pick, stage, 4, torch.tensor([0, 1, 1]), lengths, tables)
        assert torch.equal(got, torch.cat([wanted[0], wanted[1][[1]]]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0, 0, 10], [0, 0, 0]], "input 'x' has id 10 at index 2; table 'a' has ids 0 to 9"),
        ([[0, 0, 0], [0, -1, 0]], "input 'x' has id -1 at index 4; table 'c' has ids 0 to 29"),
    ],
)
def test_an_id_out_of_range_is_refused(tmp_path, x, message):
    stage = lookup("look", "sum", [{"values": "x", "columns": 3}], [(0, 2, 1, "a"), (0, 1, 1, "c")])
    made = engine(tmp_path, [dense("x", ["candidate", 3], "int64")], stage, 16)
    with pytest.raises(ValueError, match=message):
        made.infer({"x": np.array(x)})
