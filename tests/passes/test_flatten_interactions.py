"""FlattenInteractions: the pairs of a dot interaction are gathered with one index each."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, count, farthest, kjt, reasons
from compiler.layers import fused
from torch import Tensor, nn
from torchrec.models.dlrm import DLRM
from zoo import collection

from recpile.passes.flatten_interactions import FlattenInteractions
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def dots(pick) -> tuple[nn.Module, Program]:
    """pick(x @ x^T, x) of x [B, 3, 2]; rows of slices are removed."""
    model = Computes(lambda self, x: pick(torch.bmm(x, x.transpose(1, 2)), x))
    return model, RemoveNoOps().run(captured(model, Dense("x", (3, 2)))).program


def upper(products: Tensor, _: Tensor) -> Tensor:
    row, column = torch.triu_indices(3, 3, offset=1)
    return products[:, row, column] * 2


def indices(program: Program) -> list[list[list[int]]]:
    """The shapes of the indices of every gather."""
    gathers = [node for node in program.graph.graph.nodes if node.target is aten.index.Tensor]
    return [[list(one.meta["val"].shape) for one in node.args[1] if one is not None] for node in gathers]


def test_two_indices_a_pair_become_one() -> None:
    model, program = dots(upper)
    assert indices(program) == [[[3], [3]]]
    after = fused(program, FlattenInteractions())
    assert indices(after) == [[[3]]]
    (at,) = after.graph.state_dict.values()
    assert at.tolist() == [1, 2, 5]
    assert farthest(model, after) == 0


@pytest.mark.proves("The passes", "dot interaction", "graph")
def test_torchrecs_interaction_is_one() -> None:
    torch.manual_seed(0)
    bags = collection(("a", 5, 8, ["f0"]), ("b", 5, 8, ["f1"]), ("c", 5, 8, ["f2"]))
    model = DLRM(bags, 4, [16, 8], [16, 1])
    program = captured(model, Dense("dense_features", (4,)), kjt("f0", "f1", "f2", name="sparse_features"))
    after = fused(RemoveNoOps().run(program).program, FlattenInteractions())
    assert reasons(after, "FlattenInteractions", did=True) == {"index": "6 pairs of 'bmm' with one index each"}
    assert count(after, aten.select.int) == 0
    assert farthest(model, after) == 0


def test_a_second_run_changes_nothing() -> None:
    _, program = dots(upper)
    once = fused(program, FlattenInteractions())
    again = FlattenInteractions().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


def test_lists_of_pairs_and_indices_from_the_end_are_the_same_pairs() -> None:
    model, program = dots(lambda products, _: products[:, [0, 0, 1], [1, -1, -1]] * 2)
    after = fused(program, FlattenInteractions())
    (at,) = [value for value in after.graph.state_dict.values() if value.dtype == torch.int32]
    assert at.tolist() == [1, 2, 5]
    assert farthest(model, after) == 0


@pytest.mark.proves("The passes", "dot interaction", "refusal")
def test_pairs_that_depend_on_inputs_are_declined() -> None:
    _, program = dots(lambda products, x: products[:, x[0, :, 0].long(), torch.arange(3)])
    result = FlattenInteractions().run(program)
    assert not result.changed
    assert reasons(result.program, "FlattenInteractions", did=False) == {
        "index": "its indices are computed from inputs"
    }


@pytest.mark.parametrize(
    "pick",
    [
        lambda products, _: products[:, [0, 1]] * 2,
        lambda products, _: products[:, :, [0, 1]] * 2,
        lambda products, _: torch.relu(products)[:, [0, 1], [1, 2]],
        lambda products, _: products[:, torch.tensor([[0], [1]]), torch.tensor([[1], [2]])],
    ],
    ids=["rows", "columns", "no product", "a matrix of pairs"],
)
def test_other_gathers_are_left(pick) -> None:
    model, program = dots(pick)
    result = FlattenInteractions().run(program)
    assert not result.changed
    assert farthest(model, result.program) == 0
