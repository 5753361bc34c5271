"""MergeDuplicates: the same operator on the same arguments is called once."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, count, farthest, kjt, reasons
from torch import nn
from torchrec.models.deepfm import SimpleDeepFMNN
from zoo import collection

from recpile.passes.graph import EMBEDDING_BAGS
from recpile.passes.invariants import verify
from recpile.passes.merge_duplicates import MergeDuplicates
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def twice() -> tuple[nn.Module, Program]:
    model = Computes(
        lambda self, x: torch.relu(self.layer(x)) + torch.sigmoid(torch.relu(self.layer(x))), layer=nn.Linear(6, 4)
    )
    return model, captured(model, Dense("x", (6,)))


def of_x(function, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Program]:
    """A model of one input x [B, 6]."""
    model = Computes(lambda self, x: function(x))
    return model, captured(model, Dense("x", (6,), dtype))


def test_a_layer_called_twice_on_the_same_input_is_called_once() -> None:
    model, program = twice()
    assert count(program, aten.linear.default, aten.relu.default) == 4
    result = MergeDuplicates().run(program)
    verify(result.program)
    assert result.changed
    assert count(result.program, aten.linear.default, aten.relu.default) == 2
    assert farthest(model, result.program) == 0


def test_the_log_names_each_and_what_it_is_again() -> None:
    _, program = twice()
    assert reasons(MergeDuplicates().run(program).program, "MergeDuplicates", did=True) == {
        "linear_1": "is 'linear' again",
        "relu_1": "is 'relu' again",
    }


def test_a_second_run_changes_nothing() -> None:
    _, program = twice()
    once = MergeDuplicates().run(program).program
    again = MergeDuplicates().run(once)
    assert not again.changed
    assert again.program.graph is once.graph
    assert again.program.log == once.log


def test_a_lookup_made_twice_is_made_once() -> None:
    model = Computes(
        lambda self, sparse: self.bags(sparse).values() + 2 * self.bags(sparse).values(),
        bags=collection(("t", 5, 4, ["f0"])),
    )
    program = captured(model, kjt("f0"))
    assert count(program, EMBEDDING_BAGS) == 2
    after = MergeDuplicates().run(program).program
    verify(after)
    assert count(after, EMBEDDING_BAGS) == 1
    assert farthest(model, after) == 0


def test_the_concatenation_that_deepfm_makes_for_each_half_is_made_once() -> None:
    torch.manual_seed(0)
    model = SimpleDeepFMNN(4, collection(("a", 5, 8, ["f0"]), ("b", 5, 8, ["f1"])), 12, 6)
    program = captured(model, Dense("dense_features", (4,)), kjt("f0", "f1", name="sparse_features"))
    after = MergeDuplicates().run(program).program
    assert count(after, aten.cat.default) == count(program, aten.cat.default) - 1
    assert farthest(model, after) == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.relu(x) + torch.sigmoid(x),
        lambda x: x.narrow(1, 0, 3) + x.narrow(1, 3, 3),
        lambda x: torch.cat([x.sum(1, keepdim=True), x.sum(1, keepdim=True, dtype=torch.float64)], dim=1),
    ],
    ids=["other operators", "other arguments", "other keywords"],
)
def test_what_differs_stays(function) -> None:
    _, program = of_x(function)
    result = MergeDuplicates().run(program)
    assert not result.changed
    assert result.program.graph is program.graph


def test_a_number_of_another_type_is_another_argument() -> None:
    # x * 1 is of integers, x * 1.0 of floats; Python says that 1 == 1.0.
    model, program = of_x(lambda x: torch.cat([x * 1, x * 1.0], dim=1), torch.int64)
    assert not MergeDuplicates().run(program).changed
    assert farthest(model, program) == 0


def test_numbers_that_are_written_down_are_not_kept_for_a_second_use() -> None:
    _, program = of_x(lambda x: x * torch.arange(6) + torch.sigmoid(x * 2) * torch.arange(6))
    assert not MergeDuplicates().run(program).changed


def test_random_numbers_are_drawn_as_often_as_the_model_draws_them() -> None:
    # As if captured: capture itself refuses operators that draw.
    _, program = of_x(lambda x: torch.relu(x) - torch.relu(x))
    for node in program.graph.graph.nodes:
        if node.target is aten.relu.default:
            node.target = aten.bernoulli.default
    result = MergeDuplicates().run(program)
    assert not result.changed
    (reason,) = reasons(result.program, "MergeDuplicates", did=False).values()
    assert reason == "looks like 'relu', but aten.bernoulli.default draws random numbers or changes its arguments"


def test_two_outputs_may_become_the_same_value() -> None:
    model = Computes(lambda self, x: (torch.relu(x), torch.relu(x)))
    after = MergeDuplicates().run(captured(model, Dense("x", (6,)), outputs=("a", "b"))).program
    verify(after)
    assert count(after, aten.relu.default) == 1
    assert farthest(model, after) == 0
