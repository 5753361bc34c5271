"""Says what torch.export could not take in the user's words: the operator, the line of the model, the way out."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

from recpile.pycompiler.decisions import Decision
from recpile.pycompiler.source_lines import source_of_error

_READS_A_VALUE = re.compile(r"\.item\(|\.tolist\(|\.numpy\(|\b(int|float|bool)\(|\brange\(")
# What torch appends to a message: advice about its own internals.
_NOISE = re.compile(
    r"\n\s*(The error above occurred when calling|For more information, run with|For C\+\+ stack trace|"
    r"consider using data-dependent friendly|Suggested fixes:).*",
    re.DOTALL,
)


def export_message(error: Exception, decisions: Sequence[Decision]) -> str:
    """The text of a CaptureError for what torch.export raised. `decisions` were watched while it traced."""
    said = str(error)
    for what, explain in _KINDS:
        if match := re.search(what, said):
            reason, way_out, source = explain(match, source_of_error(error), decisions)
            break
    else:
        reason = f"{type(error).__name__} while its forward ran on tensors without values"
        way_out = (
            "Python control flow on tensor values, and sizes fixed in the code (such as a batch size in a reshape), "
            "are the usual reasons: use torch.where, and -1 for the batch"
        )
        source = source_of_error(error)
    where = f"\n  {source}" if source else ""
    detail = _NOISE.sub("", said).strip()
    return f"torch.export could not capture the model: {reason}{where}\n{way_out}.\n(torch: {detail})"


Explained = tuple[str, str, str]  # reason, way out, source
Explain = Callable[[re.Match, str, Sequence[Decision]], Explained]


def _on_values(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    expression, sizes = match[1], match[2]
    if _READS_A_VALUE.search(source):
        return _reads(match, source, decisions)
    if sizes != "none":
        return (
            f"the size of a tensor depends on the data ({expression})",
            "keep the size, and mask what is not wanted: torch.where instead of x[mask], nonzero or unique; or filter "
            "ids before they are sent",
            source,
        )
    return (
        "Python control flow on tensor values (if, while, and, or, assert)",
        "the graph must hold both sides: use torch.where(condition, a, b), or torch.cond for sides that cost much",
        source,
    )


def _reads(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    return (
        "a tensor's value is read into Python (.item(), .tolist(), .numpy(), int(), float(), range())",
        "keep it a tensor, and index, multiply or compare with it",
        source,
    )


def _constant(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    made = [one for one in decisions if one.kind == "guard" and "==" in one.condition and one.source]
    source = "\n  ".join(dict.fromkeys(one.source for one in made)) or source
    if ".tolist(" in source:
        return _reads(match, source, decisions)
    return (
        f"sizes fixed in the code (such as a batch size in a reshape) make '{match[1]}' always {match[2]}",
        "write -1 for the batch, x.shape[0] instead of len(x), and operators on whole tensors instead of a Python loop "
        "over rows; for a choice by size use torch.where",
        source,
    )


def _branch_on_size(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    guards = [one for one in decisions if one.kind == "guard" and one.source]
    conditions = ", ".join(dict.fromkeys(one.condition for one in guards))
    return (
        f"it branches on the size of '{match[1]}'" + (f": only {conditions} would be in the graph" if guards else ""),
        "an artifact serves every batch size: compute without the branch, or choose with torch.where",
        "\n  ".join(dict.fromkeys(one.source for one in guards)) or source,
    )


def _fixed(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    return (
        f"sizes fixed in the code (such as a batch size in a reshape): {match[1]} does not fit every batch",
        "write -1 for the batch; for a choice by size use torch.where",
        source,
    )


def _no_fake(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    return (
        f"operator {match[1]} has no fake kernel, which tells the shape of its result",
        f"register one: @torch.library.register_fake('{match[1]}') def _(…): return a new empty tensor of that shape",
        source,
    )


def _unsupported(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    return (
        f"operator {match[1]} is not one that torch.export knows",
        "write it with PyTorch's own operators, or wrap it with torch.library.custom_op and register_fake",
        source,
    )


def _device(match: re.Match, source: str, decisions: Sequence[Decision]) -> Explained:
    return (
        "a device is fixed in the code",
        "create tensors on the input's device (device=x.device); an artifact is compiled for the CPU",
        source,
    )


_KINDS: tuple[tuple[str, Explain], ...] = (
    (r"(?s)data-dependent expression (.+?) \(unhinted.*?Size-like symbols: ([^)]*)\)", _on_values),
    (r"[Dd]ata[- ]dependent (?:output|operator|expression)", _reads),
    (r"(?s)marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)", _constant),
    (r"Not all values of (\w+) =", _branch_on_size),
    (r"(shape '\[[^']*\]') is invalid for input of size", _fixed),
    (r"no fake impl registered for <CustomOpDef\(([\w:]+)\)>", _no_fake),
    (r"(?:Missing|no|No) fake (?:impl|kernel)[^'<]*?for ([\w:.]+)", _no_fake),
    (r"Could not run '([\w:.]+)' with arguments from the 'Meta' backend", _no_fake),
    (r"^([\w]+::?[\w.]+): attempted to run this operator with Meta tensors", _no_fake),
    (r"(?:Unsupported|unsupported) (?:operator|function)[: ]+([\w:.]+)", _unsupported),
    (r"\.numpy\(\) is not supported|Cannot access data pointer of Tensor", _reads),
    (r"not linked with support for \w+ devices|Torch not compiled with CUDA|No CUDA GPUs|NVIDIA driver", _device),
)


@contextmanager
def quiet_export() -> Iterator[None]:
    """What torch prints of a trace that fails is in the error already, or is about torch itself."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
