"""Tables of bf16 rows, alone and among others: the C++ engine and the Python debug runtime agree bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import handmade
import numpy as np
import pytest
import torch
from handmade import Rows, dense, keyed, lookup, output
from torch import Tensor

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.operators import POOLINGS, packed_embedding_bags
from recpile.pycompiler.packing import FBGEMM_TYPES, pack, unpack
from recpile.runtime_cpp import Engine

DIMS = {"bf16": 40, "int8": 8, "fp32": 3, "int2": 12}


def tables(types: list[str]) -> dict[str, Rows]:
    torch.manual_seed(0)
    return {f"t{i}": Rows.of(torch.randn(30, DIMS[dtype]), dtype) for i, dtype in enumerate(types)}


def write(folder: Path, types: list[str], pooling: str, weighted: bool = False, gives: str = "fp32") -> Path:
    """A lookup of one table a key of the jagged input `s`, and of two columns of `x` in the first table again."""
    made = tables(types)
    jagged = {"values": "s.values", "lengths": "s.lengths"} | ({"weights": "s.weights"} if weighted else {})
    fixed = {"values": "x", "columns": 2} | ({"weights": "w"} if weighted else {})
    features = [(1, 0, 2, "t0"), *((0, i, name) for i, name in enumerate(made))]
    stage = lookup("look", pooling, [jagged, fixed], features)
    stage["outputs"][0]["dtype"] = gives
    inputs = [keyed("s", list(made), weighted=weighted), dense("x", ["candidate", 2], "int64")]
    inputs += [dense("w", ["candidate", 2])] if weighted else []
    width = DIMS[types[0]] + sum(DIMS[dtype] for dtype in types)
    outputs = [output("out", "look/out", ["candidate", width]) | {"dtype": gives}]
    return handmade.write(folder / "lookup.pt2", inputs, [stage], outputs, made)


def inputs(keys: int, rows: int = 9, weighted: bool = False, ids: int = 30) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(rows)
    lengths = torch.randint(0, 12, (keys, rows), generator=make)
    lengths[0, 0] = 0
    nnz = int(lengths.sum())
    flat = {"s.values": torch.randint(0, ids, (nnz,), generator=make), "s.lengths": lengths}
    flat["x"] = torch.randint(0, ids, (rows, 2), generator=make)
    if weighted:
        flat |= {"s.weights": torch.randn(nnz, generator=make), "w": torch.randn(rows, 2, generator=make)}
    return flat


def answers(
    path: Path, flat: dict[str, Tensor], out_of_range: Literal["error", "zero"] = "error"
) -> tuple[Tensor, Tensor]:
    """The engine's and the debug runtime's."""
    engine = Engine(str(path), instances=1, out_of_range=out_of_range)
    given = torch.from_numpy(engine.infer({name: value.numpy() for name, value in flat.items()})["out"].copy())
    engine.stop()
    wanted = DebugRuntime(path, out_of_range=out_of_range).run(flat)["out"]
    return given.view(wanted.dtype), wanted  # numpy has no bf16: the engine gives its bits


@pytest.mark.parametrize("gives", ["fp32", "bf16"])
@pytest.mark.parametrize(("pooling", "weighted"), [("sum", False), ("mean", False), ("sum", True)])
@pytest.mark.parametrize("types", [["bf16"], ["bf16", "int8", "bf16", "fp32"], ["int2", "bf16", "bf16"]])
def test_both_runtimes_give_the_same_bits(tmp_path, types, pooling, weighted, gives):
    path = write(tmp_path, types, pooling, weighted, gives)
    given, wanted = answers(path, inputs(len(types), weighted=weighted))
    assert given.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[gives]
    assert torch.equal(given, wanted)
    assert int((wanted != 0).sum()) > wanted.numel() // 2


def test_without_any_id_everything_is_zero(tmp_path):
    path = write(tmp_path, ["bf16", "int8"], "mean")
    flat = inputs(2)
    flat |= {"s.values": flat["s.values"][:0], "s.lengths": torch.zeros_like(flat["s.lengths"])}
    given, wanted = answers(path, flat)
    assert torch.equal(given, wanted)
    assert int((given[:, DIMS["bf16"] :] != 0).sum()) == 0


def test_an_id_that_the_table_lacks_is_refused_or_a_row_of_zeros(tmp_path):
    path = write(tmp_path, ["bf16", "int8", "bf16"], "mean")
    flat = inputs(3, ids=40)
    with pytest.raises(ValueError, match=r"id 3\d at index \d+.*; table 't0' has ids 0 to 29"):
        answers(path, flat)
    given, wanted = answers(path, flat, out_of_range="zero")
    assert torch.equal(given, wanted)
    rows, ids = unpack(tables(["bf16"])["t0"].packed, "bf16", DIMS["bf16"]), flat["x"]
    kept = torch.where((ids < 30)[:, :, None], rows[ids.clamp(max=29)], 0.0)
    assert torch.equal(given[:, : DIMS["bf16"]], (kept[:, 0] + kept[:, 1]) / 2)


def test_lookups_of_each_table_are_counted(tmp_path):
    path = write(tmp_path, ["int8", "bf16", "fp32"], "sum")
    flat = inputs(3)
    engine = Engine(str(path), instances=1)
    engine.infer({name: value.numpy() for name, value in flat.items()})
    counted = {name: one["lookups"] for name, one in engine.stats()["tables"].items()}
    engine.stop()
    own = flat["s.lengths"].sum(1).tolist()
    assert counted == {"t0": own[0] + flat["x"].numel(), "t1": own[1], "t2": own[2]}


def test_values_beyond_fp16_and_far_below_it_are_kept():
    table = torch.tensor([[1e30, -3e-30], [2e30, 6e-30]])
    ids, lengths = torch.tensor([0, 1]), torch.tensor([[2]])
    rest = ([ids], [lengths], [], [0], [0], [0], POOLINGS.index("sum"))
    got = packed_embedding_bags([pack(table, "bf16")], [2], [FBGEMM_TYPES["bf16"]], *rest)
    np.testing.assert_allclose(got[0].numpy(), [3e30, 3e-30], rtol=2**-7)


def pooled(table: Tensor, ids: Tensor, lengths: Tensor, weights: list[Tensor]) -> list[list[float]]:
    rest = ([ids], [lengths], weights, [0], [0], [0], POOLINGS.index("sum"))
    return packed_embedding_bags([pack(table, "bf16")], [1], [FBGEMM_TYPES["bf16"]], *rest).tolist()


def test_rows_are_added_in_the_order_of_their_ids():
    table = torch.tensor([[2.0**24], [1.0], [1.0]])
    ids, lengths = torch.tensor([0, 1, 2, 1, 2, 0]), torch.tensor([[3, 3]])
    assert pooled(table, ids, lengths, []) == [[2.0**24], [2.0**24 + 2]]


def test_a_product_is_rounded_before_it_is_added():
    weight = 1 + 2.0**-23  # times the row it has 31 bits: a fused multiply-add would leave those that fp32 drops
    ids, lengths = torch.tensor([0, 0]), torch.tensor([[2]])
    assert pooled(torch.tensor([[1 + 2.0**-7]]), ids, lengths, [torch.tensor([weight, -weight])]) == [[0.0]]
