"""Says what torch.export could not take in the user's words: the operator, the line of the model, the way out."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

from torch.fx import Graph
from torch.nn.utils.rnn import PackedSequence

from recpile.pycompiler.decisions import Decision
from recpile.pycompiler.export_failures import KINDS, tell_packed
from recpile.pycompiler.export_told import Failure, Told, called
from recpile.pycompiler.source_lines import (
    locals_of_error,
    operator_of_error,
    raised_by_the_model,
    source_of,
    source_of_error,
)

# What torch appends to a message: advice about its own internals.
_NOISE = re.compile(
    r"\n\s*(The error above occurred when calling|For more information, run with|For C\+\+ stack trace|"
    r"consider using data-dependent friendly|Suggested fixes:|If you're using (?:torch.compile|Caffe2)|Caused by:).*"
    r"| If you're using torch.compile/export/fx.*",
    re.DOTALL,
)
_HINT = re.compile(r" For more information, run with TORCH_LOGS=\S+")
_MOST_LINES = 3  # of torch's own
_MISTAKES = (AttributeError, NameError, LookupError, NotImplementedError, AssertionError)
_TENSORS = (
    "while a model is captured its tensors have no values: choose with torch.where instead of Python's if, and write "
    "-1 for the batch"
)


def export_message(error: Exception, decisions: Sequence[Decision], forward: str = "") -> str:
    """The text of a CaptureError for what torch.export raised. `decisions` were watched while it traced; `forward` is
    the line where the model's own begins, for what has no other."""
    source = source_of_error(error) or forward
    failure = Failure(
        str(error),
        operator_of_error(error),
        source,
        decisions,
        constants=_lines_of_constants(error),
        packed=any(isinstance(one, PackedSequence) for one in locals_of_error(error)),
    )
    said = f"{type(error).__name__}: {failure.said}"
    told = _told(failure, said) or _unknown(error, source)
    source = told.source or failure.source
    at = told.at or failure.operator or called(source)
    where = ": ".join(filter(None, (f"at {at}" * bool(at), source)))
    where = f"\n  {where}" * bool(where)
    detail = _cut(failure.said)
    return f"torch.export could not capture the model: {told.reason}{where}\n{told.way_out}.\n(torch: {detail})"


def _told(failure: Failure, said: str) -> Told | None:
    for what, explain in ((r"", tell_packed),) * failure.packed + KINDS:
        if (match := re.search(what, said)) and (told := explain(match, failure)):
            return told
    return None


def _lines_of_constants(error: Exception) -> tuple[str, ...]:
    """The lines that read the tensors which torch.export lifted out of a graph that it then refused."""
    lines: dict[str, None] = {}
    for held in locals_of_error(error):
        graph = getattr(getattr(getattr(held, "aten", None), "gm", None), "graph", None)
        if isinstance(graph, Graph):
            lifted = (node for node in graph.nodes if node.op != "call_function" and "lifted_tensor" in node.name)
            lines |= dict.fromkeys(source_of(user) for node in lifted for user in node.users)
    return tuple(filter(None, lines))


def _cut(said: str) -> str:
    lines = _HINT.sub("", _NOISE.sub("", said)).strip().split("\n")
    more = len(lines) - _MOST_LINES
    return "\n".join([*lines[:_MOST_LINES], *([f"  … {more} more"] if more > 0 else [])])


def _unknown(error: Exception, source: str) -> Told:
    kind = type(error).__name__
    if raised_by_the_model(error) or isinstance(error, _MISTAKES):
        way_out = f"if it does so in eager PyTorch too, mend it there; else, {_TENSORS}"
        return Told(f"its forward raises {kind}", way_out, at=called(source) or kind)
    return Told(f"{kind} while its forward ran on tensors without values", f"write the line otherwise; {_TENSORS}")


@contextmanager
def quiet_export() -> Iterator[None]:
    """What torch prints of a trace that fails is in the error already, or is about torch itself."""
    loggers = [
        logging.getLogger(f"torch.{one}") for one in ("_subclasses.fake_tensor", "fx.experimental.symbolic_shapes")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
