"""Refuses, before anything is captured, what torch.export would fail on without a word that helps."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from recpile.pycompiler.swap import CaptureError

_UNWRITABLE = '"\\\n'  # torch.export writes names into Python code, between double quotes


def refuse_unready(model: nn.Module) -> None:
    """CaptureError for weights without a shape, and for names that torch.export cannot write."""
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(weight, (UninitializedParameter, UninitializedBuffer)):
            owner = name.rpartition(".")[0]
            kind = type(model.get_submodule(owner)).__name__
            raise CaptureError(
                f"weight '{name}' (of {kind} '{owner}') has no shape yet: a lazy module gets it from its first input; "
                "run the model once on example inputs in the function that builds it, or name the sizes"
            )
    for name, module in model.named_modules():
        part = name.rpartition(".")[2]
        if any(one in part for one in _UNWRITABLE):
            raise CaptureError(
                f"module {name!r} ({type(module).__name__}) has a double quote, a backslash or a line break in its "
                "name, which torch.export cannot write; use letters, digits and '_' for the names of modules and tables"
            )
