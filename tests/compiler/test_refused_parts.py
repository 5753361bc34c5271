"""Parts of a model that cannot be captured are refused by path and kind, with the line that names them."""

from __future__ import annotations

import threading

import pytest
import torch
from compiler.graphs import Computes, captured, farthest
from torch import nn

from recpile.pycompiler.schema import Dense, SchemaError
from recpile.pycompiler.swap import CaptureError

X = Dense("x", (4,))


class DistributedDataParallel(nn.Module):
    """A wrapper by its name alone: PyTorch's own needs a process group."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


def layer() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 1))


def dynamic(module: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})


class Ranker(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({"user": part})

    def forward(self, x):
        return self.towers["user"](x).squeeze(1)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            torch.jit.script(layer()),
            r"'towers.user' is a RecursiveScriptModule of torch.jit.*scripted or traced from",
        ),
        (torch.jit.trace(layer(), torch.ones(1, 4)), r"'towers.user' is a TopLevelTracedModule of torch.jit"),
        (dynamic(layer()), r"'towers.user.0' is a quantized Linear .*fp32 model, and say --dense-dtype int8"),
        (DistributedDataParallel(layer()), r"'towers.user' is a DistributedDataParallel, .*the module inside it"),
        (layer().to("meta"), r"weight 'towers.user.0.weight' \(of Linear 'towers.user.0'\) is on the meta device.*CPU"),
        (layer().half(), r"weight 'towers.user.0.weight' .* is torch.float16: export an fp32 model \(model.float\(\)"),
        (layer().bfloat16(), r"is torch.bfloat16: .* --dense-dtype"),
    ],
)
def test_a_part_is_refused_by_path_with_the_line_that_makes_it(part: nn.Module, message: str) -> None:
    line = r"refused_parts.py:\d+: self.towers = nn.ModuleDict"
    with pytest.raises(CaptureError, match=rf"(?s){message}.*\n  .*{line}"):
        captured(Ranker(part), X)


def test_a_whole_model_that_is_wrapped_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"the model is a DistributedDataParallel, .*\(.module\)"):
        captured(DistributedDataParallel(layer()), X)


def test_fp64_weights_are_computed_with() -> None:
    model = Computes(lambda self, x: self.out(x.double()).squeeze(1), out=nn.Linear(4, 1).double())
    assert farthest(model, captured(model, X)) < 1e-6


@pytest.mark.parametrize(
    "norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_a_layer_whose_weight_is_computed_is_a_layer(norm) -> None:
    model = Computes(lambda self, x: self.out(x), out=norm(nn.Linear(4, 3)))
    assert farthest(model, captured(model, X)) < 1e-5


class Keeps(nn.Module):
    """Leaves its last hidden values in an attribute, as models that are looked into do."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 3)

    def forward(self, x):
        self.seen = [self.hidden(x)]
        return self.seen[0].sum(1)


def test_what_a_model_has_kept_from_training_does_not_stand_in_the_way() -> None:
    model = Keeps()
    model(torch.ones(2, 4)).sum().backward()
    assert farthest(model, captured(model, X)) < 1e-6


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = Computes(lambda self, x: x * 2)
    model.__dict__["lock"] = threading.Lock()
    with pytest.raises(CaptureError, match=r"cannot be copied .*cannot pickle .*lock.*keep that out of its attributes"):
        captured(model, X)


class ByPosition(nn.Module):
    def forward(self, x, /):
        return x


class NoForward(nn.Module):
    pass


class Loss(nn.Module):
    def forward(self, x, label):
        return x - label


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            ByPosition(),
            r"ByPosition.forward takes \['x'\] by position.*take the '/' out.*def forward\(self, x, /\)",
        ),
        (NoForward(), r"NoForward has no forward; write one"),
        (Loss(), r"absent \['label'\]; .*only training needs a default\n  at forward: .*def forward\(self, x, label\)"),
    ],
)
def test_a_forward_that_does_not_take_the_inputs_is_refused_with_its_line(model: nn.Module, message: str) -> None:
    with pytest.raises(SchemaError, match=rf"(?s){message}"):
        captured(model, X)
