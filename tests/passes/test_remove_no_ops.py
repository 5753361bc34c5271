"""RemoveNoOps: an operator that gives back what it was given is what it was given."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, count, farthest, reasons
from torch import Tensor, nn

from recpile.passes.invariants import verify
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def of_x(function, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Program]:
    """A model of one input x [B, 6]."""
    model = Computes(lambda self, x: function(x))
    return model, captured(model, Dense("x", (6,), dtype))


def operators(program: Program) -> list[str]:
    return [str(node.target) for node in program.graph.graph.nodes if node.op == "call_function"]


def dropped_and_copied(x: Tensor) -> Tensor:
    x = nn.functional.dropout(x, 0.5, training=False)
    return torch.relu((x.detach().clone().expand(-1, 6)[:, :] * 1).to(torch.float32))


@pytest.mark.proves("The passes", "cleanup", "graph")
def test_what_does_nothing_between_two_operators_goes() -> None:
    model, program = of_x(lambda x: torch.sigmoid(dropped_and_copied(x)))
    assert len(operators(program)) > 5
    result = RemoveNoOps().run(program)
    verify(result.program)
    assert result.changed
    assert operators(result.program) == ["aten.relu.default", "aten.sigmoid.default"]
    assert farthest(model, result.program) == 0


def test_the_log_names_the_operator_and_what_it_is() -> None:
    _, program = of_x(lambda x: torch.relu(x.clone()))
    assert reasons(RemoveNoOps().run(program).program, "RemoveNoOps", did=True) == {"clone": "is 'flat_x'"}


def test_a_second_run_changes_nothing() -> None:
    _, program = of_x(lambda x: torch.sigmoid(dropped_and_copied(x)))
    once = RemoveNoOps().run(program).program
    again = RemoveNoOps().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - 0,
        lambda x: x / 1,
        lambda x: torch.cat([x], dim=1),
        lambda x: torch.hstack([x]),
        lambda x: x.permute(0, 1),
        lambda x: x[:, 0:6],
        lambda x: x.type_as(x),
        lambda x: x.contiguous(),
    ],
)
def test_every_kind_of_no_op_goes(function) -> None:
    model, program = of_x(lambda x: torch.relu(function(torch.exp(x))))
    after = RemoveNoOps().run(program).program
    assert operators(after) == ["aten.exp.default", "aten.relu.default"]
    assert farthest(model, after) == 0


@pytest.mark.parametrize(
    ("function", "stays"),
    [
        (lambda x: x * 2, aten.mul.Tensor),
        (lambda x: 0 - x, aten.rsub.Scalar),
        (lambda x: x[:, 1:], aten.slice.Tensor),
        (lambda x: x[:, ::2], aten.slice.Tensor),
        (lambda x: x.to(torch.float64), aten._to_copy.default),
        (lambda x: x.unsqueeze(2).expand(-1, -1, 2), aten.expand.default),
        (lambda x: torch.cat([x, x], dim=1), aten.cat.default),
        (lambda x: x.permute(1, 0).sum(0), aten.permute.default),
    ],
)
def test_an_operator_that_changes_its_input_stays(function, stays) -> None:
    model, program = of_x(lambda x: torch.relu(function(torch.exp(x))))
    after = RemoveNoOps().run(program).program
    assert count(after, stays) == 1
    assert farthest(model, after) == 0


@pytest.mark.proves("The passes", "cleanup", "refusal")
def test_adding_zero_to_floats_is_declined_for_its_sign() -> None:
    _, program = of_x(lambda x: torch.atan(torch.reciprocal(torch.relu(x) + 0)))
    result = RemoveNoOps().run(program)
    assert not result.changed
    assert list(reasons(result.program, "RemoveNoOps", did=False).values()) == ["adds 0, which turns -0.0 into 0.0"]


def test_adding_zero_to_integers_goes() -> None:
    model, program = of_x(lambda x: (x * 2 + 0) * 3, torch.int64)
    after = RemoveNoOps().run(program).program
    assert count(after, aten.add.Tensor) == 0
    assert farthest(model, after) == 0


def test_multiplying_integers_by_a_float_one_is_a_change_of_type() -> None:
    _, program = of_x(lambda x: (x + 1) * 1.0, torch.int64)
    assert not RemoveNoOps().run(program).changed


def test_a_copy_into_another_layout_is_declined_because_a_view_follows() -> None:
    model, program = of_x(lambda x: x.view(-1, 2, 3).transpose(1, 2).contiguous().view(-1, 6))
    result = RemoveNoOps().run(program)
    assert not result.changed
    (reason,) = reasons(result.program, "RemoveNoOps", did=False).values()
    assert "lies otherwise in memory" in reason
    assert farthest(model, result.program) == 0


def test_an_input_is_not_made_an_output() -> None:
    _, program = of_x(lambda x: x.clone())
    result = RemoveNoOps().run(program)
    assert not result.changed
    assert reasons(result.program, "RemoveNoOps", did=False) == {"clone": "is an output, and 'flat_x' is not computed"}
