"""What a stage costs: the numbers of `recpile inspect`, on graphs small enough to count by hand."""

from __future__ import annotations

import pytest
import torch
import zoo
from compiler.graphs import Computes, captured, kjt
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.inspection import words
from recpile.pycompiler.inspection.lookup_cost import lookup_cost
from recpile.pycompiler.inspection.stage_graph import describe_stages
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense, Input, Jagged


def split(program: Program, tables: str = "fp32") -> Program:
    return run_passes(program, passes(TablePrecision(tables), "fp32"))


def costs(model: nn.Module, *inputs: Input) -> dict[str, dict]:
    """Stage -> cost."""
    described = describe_stages(split(captured(model, *inputs)))
    return {stage: one["cost"] for stage, one in described.items() if "cost" in one}


def test_a_layer_costs_two_flops_a_weight_and_candidate_and_its_weights_once_a_batch():
    cost = costs(Computes(lambda m, x: m.layer(x), layer=nn.Linear(8, 3)), Dense("x", (8,)))["dense"]
    assert cost["flops"] == {"candidate": 2 * 8 * 3}
    assert cost["bytes"] == {"fixed": 4 * (8 * 3 + 3), "candidate": 4 * (8 + 3)}


def test_pointwise_work_costs_one_flop_an_element_given_and_reductions_one_an_element_read():
    cost = costs(Computes(lambda m, x: torch.relu(x).sum(1)), Dense("x", (8,)))["dense"]
    assert cost["flops"] == {"candidate": 8 + 8}
    assert cost["bytes"] == {"candidate": 4 * (8 + 1)}
    assert cost["operator_bytes"] == {"candidate": 4 * (8 + 8) + 4 * (8 + 1)}


def test_views_and_copies_are_no_flops_and_views_move_nothing():
    cost = costs(Computes(lambda m, x: x.reshape(-1, 2, 4).transpose(1, 2)), Dense("x", (8,)))["dense"]
    assert cost["flops"] == {}
    assert cost["operator_bytes"] == {}


def test_matrix_products_convolutions_and_attention_are_counted_as_torch_counts_them():
    def forward(m, x):
        attended = torch.nn.functional.scaled_dot_product_attention(x, x, x)
        return m.convolved(attended.transpose(1, 2)).flatten(1) @ m.layer.weight

    model = Computes(forward, convolved=nn.Conv1d(16, 4, 3), layer=nn.Linear(5, 12))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x=torch.zeros(64, 5, 16))
    assert counter.get_total_flops() > 0
    assert costs(model, Dense("x", (5, 16)))["dense"]["flops"] == {"candidate": counter.get_total_flops() / 64}


def test_what_depends_on_the_number_of_ids_is_a_term_of_its_own():
    cost = costs(*_model_and_inputs(zoo.hashed_ids()))["dense_0"]
    assert cost["flops"] == {}  # hashing is integer work
    assert cost["operator_bytes"] == {"ids.nnz": 2 * (8 + 8)}
    assert words.per_row(cost["bytes"]) == "16 a candidate + 16 an id of 'ids'"


def test_a_table_inside_a_dense_stage_is_read_by_the_row():
    cost = costs(Computes(lambda m, x: m.table.weight.index_select(0, x), table=nn.Embedding(1000, 4)), _ids())["dense"]
    assert cost["bytes"] == {"candidate": 8 + 16}


@pytest.mark.parametrize(("tables", "row"), [("fp32", 64), ("int8", 20)])
def test_an_id_reads_one_row_of_its_table_and_itself(tables, row):
    bags = zoo.collection(("user", 50, 16, ["user"]), ("item", 80, 16, ["item", "history"]))
    manifest = _manifest(bags, kjt("user", "item", "history"), tables)
    cost = lookup_cost(manifest, manifest["stages"][0])
    assert {read.table["name"]: (read.features, read.bytes_per_id) for read in cost.tables} == {
        "user": (1, row + 8),
        "item": (2, row + 8),
    }
    assert cost.bytes_per_bag == 3 * (8 + 4 * 16)  # a length read and a pooled row written, a feature


def test_weights_of_ids_are_read_too():
    manifest = _manifest(zoo.collection(("t", 10, 4, ["f"]), weighted=True), kjt("f", weighted=True))
    (read,) = lookup_cost(manifest, manifest["stages"][0]).tables
    assert read.bytes_per_id == 4 * 4 + 8 + 4


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (5569, "5,569"), (12_345, "12.3 k"), (4_710_000, "4.71 M"), (3e9, "3 G"), (97e12, "97 T"), (0.5, "0.5")],
)
def test_numbers_are_short(value, said):
    assert words.number(value) == said


def _manifest(collection: nn.Module, one: Input, tables: str = "fp32") -> dict:
    model = Computes(lambda m, sparse: m.bags(sparse).values(), bags=collection)
    return build_manifest(split(captured(model, one), tables), "1", {}, {}, {})


def _model_and_inputs(built):
    model, schema = built
    return (model, *schema.inputs)


def _ids() -> Dense:
    return Dense("x", (), torch.int64)


def test_a_jagged_input_of_its_own_kind_counts_its_lengths():
    model = Computes(lambda m, ids: m.bags(_as_kjt(ids)).values(), bags=zoo.collection(("t", 10, 4, ["f"])))
    manifest = build_manifest(split(captured(model, Jagged("ids", torch.int32, torch.int32))), "1", {}, {}, {})
    stage = next(one for one in manifest["stages"] if one["kind"] == "embedding")
    cost = lookup_cost(manifest, stage)
    assert (cost.tables[0].bytes_per_id, cost.bytes_per_bag) == (16 + 4, 16 + 4)


def _as_kjt(ids):
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

    return KeyedJaggedTensor(keys=["f"], values=ids.values(), lengths=ids.lengths())
