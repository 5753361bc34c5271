"""FoldBatchNorm: a batch norm becomes part of the layer in front of it."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, reasons
from compiler.layers import fused, operators, relative, train
from torch import nn

from recpile.passes.fold_batch_norm import FoldBatchNorm
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def of(forward, **parts: nn.Module) -> tuple[nn.Module, Program]:
    """A model of one input x [B, 6]."""
    torch.manual_seed(0)
    for part in parts.values():
        part.apply(train)
    model = Computes(forward, **parts)
    return model, captured(model, Dense("x", (6,)))


def normed(layer: nn.Linear, norm: nn.BatchNorm1d) -> tuple[nn.Module, Program]:
    return of(lambda self, x: torch.relu(self.norm(self.layer(x))), layer=layer, norm=norm)


def plain() -> tuple[nn.Module, Program]:
    return normed(nn.Linear(6, 8), nn.BatchNorm1d(8))


@pytest.mark.proves("The passes", "batch-norm folding", "graph")
def test_a_norm_behind_a_linear_layer_is_gone() -> None:
    model, program = plain()
    assert operators(program) == ["linear", "_native_batch_norm_legit_no_training", "getitem", "relu"]
    after = fused(program, FoldBatchNorm())
    assert operators(after) == ["linear", "relu"]
    assert relative(model, after) < 1e-6


def test_the_log_names_the_norm_and_its_layer() -> None:
    _, program = plain()
    did = reasons(FoldBatchNorm().run(program).program, "FoldBatchNorm", did=True)
    assert did == {"_native_batch_norm_legit_no_training": "is part of 'linear'"}


def test_the_weights_and_statistics_of_the_two_are_gone() -> None:
    _, program = plain()
    after = fused(program, FoldBatchNorm())
    read = [spec.target for spec in after.graph.graph_signature.input_specs if spec.target]
    assert sorted(list(after.graph.state_dict[name].shape) for name in read) == [[8], [8, 6]]


def test_a_second_run_changes_nothing() -> None:
    _, program = plain()
    once = fused(program, FoldBatchNorm())
    again = FoldBatchNorm().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


@pytest.mark.parametrize(
    ("bias", "affine"), [(False, True), (True, False), (False, False)], ids=["no bias", "not affine", "neither"]
)
def test_what_a_layer_or_a_norm_lacks_is_made_up_for(bias: bool, affine: bool) -> None:
    model, program = normed(nn.Linear(6, 8, bias=bias), nn.BatchNorm1d(8, affine=affine))
    after = fused(program, FoldBatchNorm())
    assert operators(after) == ["linear", "relu"]
    assert relative(model, after) < 1e-6


def test_a_norm_behind_a_convolution_is_gone() -> None:
    def forward(self, x):
        return torch.relu(self.norm(self.convolution(x.view(-1, 2, 3)))).flatten(1)

    model, program = of(forward, convolution=nn.Conv1d(2, 4, 2), norm=nn.BatchNorm1d(4))
    after = fused(program, FoldBatchNorm())
    assert "_native_batch_norm_legit_no_training" not in operators(after)
    assert relative(model, after) < 1e-6


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda self, x: self.norm(torch.relu(self.layer(x))), "reads 'relu', which is no layer"),
        (lambda self, x: (lambda y: self.norm(y) + y)(self.layer(x)), "'linear' is read by others too"),
        (
            lambda self, x: self.norm(self.layer(x)) + self.layer(x * 2),
            "the weights of 'linear' are read by others too",
        ),
        (
            lambda self, x: self.norm(nn.functional.linear(x, self.layer.weight.abs())),
            "has weights that are computed",
        ),
    ],
)
@pytest.mark.proves("The passes", "batch-norm folding", "refusal")
def test_a_norm_that_must_stay_says_why(forward, reason: str) -> None:
    _, program = of(forward, layer=nn.Linear(6, 8), norm=nn.BatchNorm1d(8))
    result = FoldBatchNorm().run(program)
    assert not result.changed
    assert list(reasons(result.program, "FoldBatchNorm", did=False).values()) == [reason]


def test_a_norm_of_another_axis_than_the_layers_columns_stays() -> None:
    def forward(self, x):
        return self.norm(self.layer(x.view(-1, 2, 3))).flatten(1)

    _, program = of(forward, layer=nn.Linear(3, 4), norm=nn.BatchNorm1d(2))
    result = FoldBatchNorm().run(program)
    assert list(reasons(result.program, "FoldBatchNorm", did=False).values()) == [
        "normalizes axis 1 of 'linear', not its columns"
    ]


def test_bf16_layers_keep_their_norm() -> None:
    _, program = plain()
    result = FoldBatchNorm("bf16").run(program)
    assert not result.changed
    assert list(reasons(result.program, "FoldBatchNorm", did=False).values()) == [
        "costs less beside a bf16 layer than in it, in small batches"
    ]


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="dense dtype: got 'fp8'; use one of fp32, bf16"):
        FoldBatchNorm("fp8")
