"""Published model classes by the name of what builds them: package.function -> () -> (model, InputSchema)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import torch
from published import deepctr_models, rechub_models, torchfm_models, torchrec_models
from torch import nn

from recpile.pycompiler.schema import InputSchema

PACKAGES = {
    "torchrec": torchrec_models,
    "torchfm": torchfm_models,
    "deepctr": deepctr_models,
    "rechub": rechub_models,
}


def _builders(module: ModuleType) -> dict[str, Callable[[], tuple[nn.Module, InputSchema]]]:
    made = inspect.getmembers(module, inspect.isfunction)
    return {name: one for name, one in made if one.__module__ == module.__name__ and not name.startswith("_")}


MODELS = {f"{package}.{name}": one for package, made in PACKAGES.items() for name, one in _builders(made).items()}
# What the compiler refuses: test_published_models.py says why.
REFUSED = ("torchrec.dlrm_transformer", "rechub.dien", "torchfm.afm")


def build(name: str) -> tuple[nn.Module, InputSchema]:
    """The model in eval mode, with weights large enough that a wrong row shows: many are published with tiny ones."""
    torch.manual_seed(0)
    model, schema = MODELS[name]()
    with torch.no_grad():
        for module in model.modules():
            for weight in module.parameters(recurse=False):
                if weight.ndim > 1:
                    weight.normal_(std=0.3)
            if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
            if (
                isinstance(module, nn.BatchNorm1d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval(), schema


def class_of(model: nn.Module) -> str:
    """The published class, by its package."""
    inner = model.model if isinstance(model, rechub_models.Named) else model
    return f"{type(inner).__module__.split('.')[0]}.{type(inner).__name__}"
