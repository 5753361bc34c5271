"""The ways in which torch.export fails, each with its reason and the way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from recpile.pycompiler.export_told import CHOOSES, READS, Failure, Told

_MOST_CONDITIONS = 3
_MOST_LINES = 3
_KEEP_SIZES = (
    "keep the size, and mask what is not wanted: torch.where instead of x[mask], nonzero or unique; or filter ids "
    "before they are sent"
)


def _on_values(match: re.Match, failure: Failure) -> Told:
    expression, sizes = match[1], match[2]
    if failure.written(READS):
        return _reads(match, failure)
    if sizes != "none":
        return Told(f"the size of a tensor depends on the data ({expression})", _KEEP_SIZES)
    if failure.operator:
        return Told(
            f"operator {failure.operator} asks for a number that only the data has",
            "give it the number (such as num_classes, minlength, output_size), or keep it a tensor",
        )
    if chosen := failure.written(CHOOSES):
        return Told(
            "Python control flow on tensor values (if, while, and, or, assert)",
            "the graph must hold both sides: use torch.where(condition, a, b), or torch.cond for sides that cost much",
            at=f"'{chosen}'",
        )
    return Told(
        "Python takes a tensor's value for a number (as an index of a list, a size, a condition)",
        "make the list a tensor (register_buffer) and index that; choose with torch.where(condition, a, b)",
        at="Python's use of the value",
    )


def _reads(match: re.Match, failure: Failure) -> Told:
    read = failure.written(READS)
    library = read.startswith(("np.", "numpy.", "math.")) or "numpy" in failure.said
    return Told(
        "a tensor's value is read into Python (.item(), .tolist(), .numpy(), int(), float(), range(), numpy, math)",
        "keep it a tensor, and index, multiply or compare with it"
        + ("; PyTorch has most functions of numpy and math under the same name" if library else "")
        + ("; torch.stack makes one tensor of several" if read.startswith("torch.tensor") else ""),
        at=read or "what takes the tensor out of PyTorch",
    )


def _memory(match: re.Match, failure: Failure) -> Told:
    return Told(
        "what is no operator of PyTorch reads a tensor's memory (a C extension, copy.deepcopy, data_ptr, DLPack)",
        "use x.clone() for a copy, and PyTorch's operators for the rest: the server has no others",
        at=failure.operator or "what reads the memory",
    )


def _formats(match: re.Match, failure: Failure) -> Told:
    return Told(
        "a tensor's value is written into text", "leave it out of forward: a served model prints nothing", "f-string"
    )


def _gradients(match: re.Match, failure: Failure) -> Told:
    return Told(
        "its forward computes gradients (backward, torch.autograd.grad)",
        "an artifact has none: write the derivative out, or do it under self.training only",
        at="autograd",
    )


def _kept(match: re.Match, failure: Failure) -> Told:
    return Told(
        "its forward uses a tensor that it has kept from another call (functools.cache, a global, a list)",
        "compute it in every call, or once in __init__ (register_buffer): what is kept while the model is captured has "
        "no values",
        at="a kept tensor",
        source="\n  ".join(failure.constants[:_MOST_LINES]),
    )


def tell_packed(match: re.Match, failure: Failure) -> Told:
    return Told(
        "a packed sequence (pack_padded_sequence) has sizes that only the data has",
        "run the layer over the padded rows, and take each row's state at its last step: "
        "states[torch.arange(len(lengths)), lengths - 1]; or mask what lies behind it",
        at="torch.nn.utils.rnn.PackedSequence",
    )


def _key_of_tensor(match: re.Match, failure: Failure) -> Told | None:
    if not re.search(r"""\[["']""", failure.code):
        return None
    return Told(
        "a tensor is indexed by a name: forward takes a dict, and the schema gives it one tensor for each input",
        "wrap the model in a module whose forward has a parameter for each input of the schema, and builds the dict",
        at="a tensor's name",
    )


def _constant(match: re.Match, failure: Failure) -> Told:
    made = [one for one in failure.decisions if one.kind == "guard" and "==" in one.condition and one.source]
    source = "\n  ".join(dict.fromkeys(one.source for one in made)) or failure.source
    if ".tolist(" in source:
        return replace(_reads(match, failure), at=".tolist(…)", source=source)
    return Told(
        f"sizes fixed in the code (such as a batch size in a reshape) make '{match[1]}' always {match[2]}",
        "write -1 for the batch, x.shape[0] instead of len(x), and operators on whole tensors instead of a Python loop "
        "over rows; for a choice by size use torch.where",
        source=source,
    )


def _branch_on_size(match: re.Match, failure: Failure) -> Told:
    guards = [one for one in failure.decisions if one.kind == "guard" and one.source]
    conditions = list(dict.fromkeys(one.condition for one in guards))
    more = len(conditions) - _MOST_CONDITIONS
    shown = ", ".join(conditions[:_MOST_CONDITIONS]) + (f" and {more} more" if more > 0 else "")
    return Told(
        f"it branches on the size of '{match[1]}'" + (f": only {shown} would be in the graph" if guards else ""),
        "an artifact serves every batch size: compute without the branch, choose with torch.where, and keep rows rows "
        "in a reshape",
        source="\n  ".join(dict.fromkeys(one.source for one in guards)),
    )


def _fixed(match: re.Match, failure: Failure) -> Told:
    return Told(
        f"sizes fixed in the code (such as a batch size in a reshape): {match[1]} does not fit every batch",
        "write -1 for the batch; for a choice by size use torch.where",
    )


def _no_fake(match: re.Match, failure: Failure) -> Told:
    return Told(
        f"operator {match[1]} has no fake kernel, which tells the shape of its result",
        "write it with PyTorch's operators: the server has no others, of which all have one",
        at=match[1],
    )


def _unsupported(match: re.Match, failure: Failure) -> Told:
    return Told(
        f"operator {match[1]} is not one that torch.export knows",
        "write it with PyTorch's operators on dense tensors",
        at=match[1],
    )


def _shape_of_data(match: re.Match, failure: Failure) -> Told:
    return Told(f"the size of what operator {match[1]} gives depends on the data", _KEEP_SIZES, at=match[1])


def _device(match: re.Match, failure: Failure) -> Told:
    return Told(
        "a device is fixed in the code",
        "create tensors on the input's device (device=x.device); an artifact is compiled for the CPU",
    )


KINDS: tuple[tuple[str, Callable[[re.Match, Failure], Told | None]], ...] = (
    (r"(?s)data-dependent expression (.+?) \(unhinted.*?Size-like symbols: ([^)]*)\)", _on_values),
    (r"DynamicOutputShapeException: ([\w:.]+)", _shape_of_data),
    (r"UnsupportedOperatorException: ([\w:.]+)", _unsupported),
    (r"[Dd]ata[- ]?[Dd]ependent ?(?:[Oo]utput|operator|expression)", _reads),
    (r"calling \.item\(\) on a Tensor|but its data is not allocated yet", _reads),
    (r"(?s)marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)", _constant),
    (r"Not all values of (\w+) =", _branch_on_size),
    (r"(shape '\[[^']*\]') is invalid for input of size", _fixed),
    (r"no fake impl registered for <CustomOpDef\(([\w:]+)\)>", _no_fake),
    (r"(?:Missing|no|No) fake (?:impl|kernel)[^'<]*?for ([\w:.]+)", _no_fake),
    (r"Could not run '([\w:.]+)' with arguments from the 'Meta' backend", _no_fake),
    (r"(?:^|: )([\w]+::?[\w.]+): attempted to run this operator with Meta tensors", _no_fake),
    (r"(?:Unsupported|unsupported) (?:operator|function)[: ]+([\w:.]+)", _unsupported),
    (r"\.numpy\(\) is not supported", _reads),
    (r"Cannot access data pointer of Tensor", _memory),
    (r"unsupported format string passed to \w*Tensor", _formats),
    (r"does not require grad and does not have a grad_fn", _gradients),
    (r"fake tensor in the exported program constant's list", _kept),
    (r"new\(\): invalid data type 'str'|too many indices for tensor", _key_of_tensor),
    (r"'Tensor' object has no attribute 'constant'", _gradients),  # torch.func.grad of a fake tensor
    (r"not linked with support for \w+ devices|Torch not compiled with CUDA|No CUDA GPUs|NVIDIA driver", _device),
    (r"is not on the expected device", _device),
)
