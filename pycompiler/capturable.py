"""Refuses, before anything is captured, what torch.export would fail on without a word that helps."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from recpile.pycompiler.swap import CaptureError

_UNWRITABLE = '"\\\n'  # torch.export writes names into Python code, between double quotes
# Wrappers of training, by name: their classes need not be importable where a model is exported.
_WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "DistributedModelParallel")
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")


def refuse_unready(model: nn.Module) -> None:
    """CaptureError for a model wrapped for training, parts that are no Python any more, weights without a shape, and
    names that torch.export cannot write."""
    for name, module in model.named_modules():
        _refuse_part(name, module)
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(weight, (UninitializedParameter, UninitializedBuffer)):
            raise CaptureError(
                f"{_of(model, name)} has no shape yet: a lazy module gets it from its first input; run the model once "
                "on example inputs in the function that builds it, or name the sizes",
                part=name,
            )


def refuse_weights(model: nn.Module) -> None:
    """CaptureError for weights that hold no numbers, or numbers of 16 bits. Collections are swapped already, and say
    what is wrong with their tables themselves."""
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if weight.is_meta:
            raise CaptureError(
                f"{_of(model, name)} is on the meta device, so it holds no numbers: build the model on the CPU (no "
                "device='meta'), or give it some first (model.to_empty(device='cpu'), then load the checkpoint)",
                part=name,
            )
        if weight.dtype in (torch.float16, torch.bfloat16):
            raise CaptureError(
                f"{_of(model, name)} is {weight.dtype}: export an fp32 model (model.float(), no .half() or "
                ".bfloat16()), and choose the types of its artifact with --dense-dtype and --embedding-dtype",
                part=name,
            )


def _of(model: nn.Module, name: str) -> str:
    owner = name.rpartition(".")[0]
    return f"weight '{name}' (of {type(model.get_submodule(owner)).__name__} '{owner}')"


def _refuse_part(path: str, module: nn.Module) -> None:
    kind, where = type(module).__name__, f"'{path}'" if path else "the model"
    if kind in _WRAPPERS:
        raise CaptureError(
            f"{where} is a {kind}, which is for training: give the module inside it (.module), built without it; its "
            "checkpoint loads as it is, sharded names too, or with a rule that renames 'module.*'",
            part=path,
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise CaptureError(
            f"{where} is a {kind} of torch.jit, whose operators torch.export does not see: give the nn.Module that it "
            "was scripted or traced from; weights have the same names in both",
            part=path,
        )
    if type(module).__module__.startswith(_QUANTIZED):
        raise CaptureError(
            f"{where} is a quantized {kind} ({type(module).__module__}), whose weights are packed for other kernels: "
            "give the fp32 model, and say --dense-dtype int8",
            part=path,
        )
    if any(one in path.rpartition(".")[2] for one in _UNWRITABLE):
        raise CaptureError(
            f"module {path!r} ({kind}) has a double quote, a backslash or a line break in its name, which torch.export "
            "cannot write; use letters, digits and '_' for the names of modules and tables",
            part=path,
        )
