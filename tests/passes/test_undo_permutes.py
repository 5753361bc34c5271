"""UndoPermutes: moves of axes that undo each other are dropped."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, farthest, reasons
from torch import nn
from torchrec.modules.crossnet import LowRankMixtureCrossNet

from recpile.passes.invariants import verify
from recpile.passes.undo_permutes import UndoPermutes
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def of_x(function) -> tuple[nn.Module, Program]:
    """A model of one dense input x [B, 6]."""
    model = Computes(lambda self, x: function(x))
    return model, captured(model, Dense("x", (6,)))


def operators(program: Program) -> list[str]:
    return [str(node.target).split(".")[1] for node in program.graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.t().t(),
        lambda x: x.permute(1, 0).transpose(0, -1),
        lambda x: x.unsqueeze(2).permute(0, 2, 1).transpose(1, 2).squeeze(2),
        lambda x: x.unsqueeze(0).permute(2, 0, 1).squeeze(1).t(),
        lambda x: x.squeeze(1),
    ],
)
def test_axes_that_come_back_are_their_beginning(function) -> None:
    model, program = of_x(lambda x: torch.relu(function(torch.exp(x))))
    result = UndoPermutes().run(program)
    verify(result.program)
    assert result.changed
    assert operators(result.program) == ["exp", "relu"]
    assert farthest(model, result.program) == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(-1, 2, 3).transpose(1, 2).transpose(0, 1),
        lambda x: x.view(-1, 2, 3).permute(0, 2, 1).permute(1, 0, 2),
        lambda x: x.unsqueeze(1),
        lambda x: x.unsqueeze(1).squeeze(1).unsqueeze(2),
        lambda x: torch.relu(x.t()).t(),
    ],
    ids=["other axes", "permuted on", "an axis more", "back and elsewhere", "something between"],
)
def test_axes_that_end_elsewhere_stay(function) -> None:
    model, program = of_x(lambda x: function(torch.exp(x)).sum(dim=tuple(range(1, function(x).ndim))))
    after = UndoPermutes().run(program).program
    assert "exp" in operators(after)
    assert len(operators(after)) >= len(operators(program)) - 2
    assert farthest(model, after) == 0


def test_what_lies_between_stays_where_something_reads_it() -> None:
    model, program = of_x(lambda x: x.t().t() * 2 + x.t().sum(dim=0, keepdim=True).t())
    after = UndoPermutes().run(program).program
    assert operators(after).count("t") == 2
    assert farthest(model, after) == 0


def test_a_cross_net_loses_the_axis_that_it_adds_and_drops() -> None:
    torch.manual_seed(0)
    model = Computes(lambda self, x: self.cross(x), cross=LowRankMixtureCrossNet(6, 1, 2, 2))
    program = captured(model, Dense("x", (6,)))
    result = UndoPermutes().run(program)
    assert reasons(result.program, "UndoPermutes", did=True) == {
        "squeeze": "is 'flat_x' again",
        "squeeze_1": "is 'flat_x' again",
    }
    assert farthest(model, result.program) == 0


def test_an_input_is_not_made_an_output() -> None:
    _, program = of_x(lambda x: x.t().t())
    result = UndoPermutes().run(program)
    assert not result.changed
    assert reasons(result.program, "UndoPermutes", did=False) == {"t_1": "is an output, and 'flat_x' is not computed"}


def test_a_second_run_changes_nothing() -> None:
    _, program = of_x(lambda x: torch.relu(x.t().t()))
    once = UndoPermutes().run(program).program
    again = UndoPermutes().run(once)
    assert not again.changed
    assert again.program.graph is once.graph
