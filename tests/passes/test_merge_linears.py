"""MergeLinears: linear layers with nothing between them become one where that is less work."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, reasons
from compiler.layers import fused, operators, relative
from torch import nn
from torchrec.modules.crossnet import LowRankCrossNet

from recpile.passes.merge_linears import MergeLinears
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def layers(*sequence: nn.Module) -> tuple[nn.Module, Program]:
    """A model of one input x [B, 6]."""
    torch.manual_seed(0)
    model = Computes(lambda self, x: self.layers(x), layers=nn.Sequential(*sequence))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model, captured(model, Dense("x", (6,)))


def two() -> tuple[nn.Module, Program]:
    return layers(nn.Linear(6, 16), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 1))


def test_two_layers_in_a_row_become_one() -> None:
    model, program = two()
    assert operators(program) == ["linear", "linear", "relu", "linear"]
    after = fused(program, MergeLinears())
    assert operators(after) == ["linear", "relu", "linear"]
    assert relative(model, after) < 1e-5


def test_the_log_says_what_it_saves() -> None:
    _, program = two()
    did = reasons(MergeLinears().run(program).program, "MergeLinears", did=True)
    assert did == {"linear, linear_1": "one layer: 24 multiplications a row for 160"}


def test_the_weights_of_the_two_are_gone() -> None:
    _, program = two()
    shapes = [list(value.shape) for value in fused(program, MergeLinears()).graph.state_dict.values()]
    assert sorted(shapes) == [[1], [1, 4], [4], [4, 6]]


def test_a_second_run_changes_nothing() -> None:
    _, program = two()
    once = fused(program, MergeLinears())
    again = MergeLinears().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


def test_three_in_a_row_become_one_also_where_the_first_two_alone_would_not_pay() -> None:
    # 6-4-6: 48 for 36; but 4-6-1 saves, and then so does 6-4-1.
    model, program = layers(nn.Linear(6, 3), nn.Linear(3, 6), nn.Linear(6, 1))
    after = fused(program, MergeLinears())
    assert operators(after) == ["linear"]
    assert relative(model, after) < 1e-5


def test_layers_without_biases_stay_without() -> None:
    model, program = layers(nn.Linear(6, 16, bias=False), nn.Linear(16, 4, bias=False))
    after = fused(program, MergeLinears())
    assert [list(value.shape) for value in after.graph.state_dict.values()] == [[4, 6]]
    assert relative(model, after) < 1e-5


def test_one_bias_of_two_is_enough_for_a_bias() -> None:
    model, program = layers(nn.Linear(6, 16), nn.Linear(16, 4, bias=False))
    assert relative(model, fused(program, MergeLinears())) < 1e-5


@pytest.mark.proves("The passes", "fusion", "refusal")
def test_a_bottleneck_is_declined_with_the_numbers() -> None:
    torch.manual_seed(0)
    model = Computes(lambda self, x: self.cross(x), cross=LowRankCrossNet(6, 1, 2))
    result = MergeLinears().run(captured(model, Dense("x", (6,))))
    assert not result.changed
    assert reasons(result.program, "MergeLinears", did=False) == {
        "linear, linear_1": "merging is not less work: 36 multiplications a row for 24"
    }


def test_a_result_that_others_read_is_declined() -> None:
    torch.manual_seed(0)
    model = Computes(
        lambda self, x: self.b(self.a(x)) + self.a(x).sum(1, keepdim=True), a=nn.Linear(6, 16), b=nn.Linear(16, 4)
    )
    model.forward = lambda x: (lambda a: model.b(a) + a.sum(1, keepdim=True))(model.a(x))  # type: ignore[method-assign]
    result = MergeLinears().run(captured(model, Dense("x", (6,))))
    assert not result.changed
    assert reasons(result.program, "MergeLinears", did=False) == {"linear, linear_1": "'linear' is read by others too"}


def test_layers_that_share_their_weight_are_declined() -> None:
    model = Computes(lambda self, x: self.same(self.same(x)), same=nn.Linear(6, 6))
    result = MergeLinears().run(captured(model, Dense("x", (6,))))
    assert not result.changed
    assert list(reasons(result.program, "MergeLinears", did=False).values()) == ["another layer has the same weights"]


def test_an_activation_between_keeps_layers_apart() -> None:
    _, program = layers(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
    result = MergeLinears().run(program)
    assert not result.changed
    assert result.program.log == ()
