"""MatmulsToLinears: a weight times a column a row is a linear layer."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, reasons
from compiler.layers import fused, operators, relative
from torch import Tensor, nn
from torchrec.modules.crossnet import CrossNet

from recpile.passes.matmuls_to_linears import MatmulsToLinears
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def cross_net() -> tuple[nn.Module, Program]:
    torch.manual_seed(0)
    model = Computes(lambda self, x: self.cross(x), cross=CrossNet(6, 2))
    return model, captured(model, Dense("x", (6,)))


def test_a_cross_net_is_made_of_linear_layers() -> None:
    model, program = cross_net()
    assert operators(program).count("matmul") == 2
    after = fused(program, MatmulsToLinears())
    assert operators(after).count("matmul") == 0
    assert operators(after).count("linear") == 2
    assert reasons(after, "MatmulsToLinears", did=True)["matmul"] == "a linear layer over 'unsqueeze'"
    assert relative(model, after) < 1e-6


def test_a_second_run_changes_nothing() -> None:
    _, program = cross_net()
    once = fused(program, MatmulsToLinears())
    again = MatmulsToLinears().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


def test_fp32_is_declined_because_it_is_one_product_already() -> None:
    _, program = cross_net()
    result = MatmulsToLinears("fp32").run(program)
    assert not result.changed
    assert set(reasons(result.program, "MatmulsToLinears", did=False).values()) == {"is one product already in fp32"}


def test_a_kernel_that_depends_on_inputs_is_declined() -> None:
    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x[:2].t() @ x[:2], x.unsqueeze(2)).squeeze(2)

    result = MatmulsToLinears().run(captured(Computes(forward), Dense("x", (6,))))
    assert not result.changed
    assert list(reasons(result.program, "MatmulsToLinears", did=False).values()) == ["'matmul' is computed from inputs"]


def test_a_product_with_more_than_a_column_is_left() -> None:
    model = Computes(
        lambda self, x: torch.matmul(self.layer.weight, x.view(-1, 3, 2)).flatten(1), layer=nn.Linear(3, 4)
    )
    result = MatmulsToLinears().run(captured(model, Dense("x", (6,))))
    assert not result.changed
    assert result.program.log == ()


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="dense dtype: got 'fp8'; use one of fp32, bf16"):
        MatmulsToLinears("fp8")
