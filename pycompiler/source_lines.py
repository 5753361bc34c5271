"""Where in the user's code something comes from: "file:line: source" of a node, of an error, of a call."""

from __future__ import annotations

import inspect
import linecache
import operator
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import nn
from torch.fx import Node
from torch.fx.proxy import TracerBase

_HERE = Path(__file__).resolve().parent
# Ours and torch's own code. recpile.models is code that a user could have written.
_INTERNAL = tuple(f"{path}/" for path in (Path(torch.__file__).resolve().parent, _HERE, _HERE.parent / "passes"))
_CAPTURE = str(_HERE / "capture.py")  # its FlatModel.forward calls the model
_LIBRARIES = ("/site-packages/torchrec/", "/site-packages/fbgemm_gpu/")
_STANDARD = f"{Path(sysconfig.get_path('stdlib')).resolve()}/"
_STACK_FRAME = re.compile(r'File "(.+?)", line (\d+)(?:, in (.+))?')
_PACKAGE = re.compile(r"-packages/([^/]+)")
_BETWEEN_TRACES = "\n\n"  # in the stack trace of an operator that stands for several
_MOST_LINES = 3

Place = tuple[str, int, str]  # file, line, function


def source_of(node: Node) -> str:
    """The innermost line of the user's model that made `node`, as "file:line: source"; "" if none is known. Of an
    operator that stands for several, the line of each, with "; " between."""
    lines = list(dict.fromkeys(filter(None, (_shown(_innermost(_places(trace))) for trace in traces_of(node)))))
    more = len(lines) - _MOST_LINES
    return "; ".join(lines[:_MOST_LINES]) + (f"; and {more} more" if more > 0 else "")


def traces_of(node: Node) -> list[str]:
    """The stack traces of what `node` stands for: one, or several if a pass merged operators."""
    return [one for one in (node.meta.get("stack_trace") or "").split(_BETWEEN_TRACES) if one.strip()]


def come_from(made: Node, *nodes: Node) -> None:
    """`made` stands for `nodes` from now on: it has the lines of all of them."""
    made.meta["stack_trace"] = _BETWEEN_TRACES.join(dict.fromkeys(one for node in nodes for one in traces_of(node)))


def at(node: Node) -> str:
    """source_of, ready to follow a name in a message: " (file:line: source)", or nothing."""
    source = source_of(node)
    return f" ({source})" if source else ""


def named(node: Node) -> str:
    """An operator as a user knows it: its name, its place in the graph, its line."""
    of = node.args[0] if node.target is operator.getitem else node  # one of the results of an operator with several
    target = of.target if isinstance(of, Node) else node.target
    return f"{target} '{node.name}'{at(node)}"


def source_of_error(error: BaseException) -> str:
    """The innermost line of the user's model that `error`, or what caused it, was raised through."""
    for one in reversed(_causes(error)):
        frames = traceback.extract_tb(one.__traceback__)
        if found := _shown(_innermost((frame.filename, frame.lineno or 0, frame.name) for frame in frames)):
            return found
    return ""


def raised_by_the_model(error: BaseException) -> bool:
    """Whether a line of the user's model raised `error` itself, not something that the line calls."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and _rank(frames[-1].filename) == 0 and not _package(frames[-1].filename)


def locals_of_error(error: BaseException) -> Iterator[object]:
    """The local variables of the frames that `error`, or what caused it, was raised through."""
    for one in _causes(error):
        for frame, _ in traceback.walk_tb(one.__traceback__):
            yield from frame.f_locals.values()


def operator_of_error(error: BaseException) -> str:
    """The operator, such as "aten.mm.default", that PyTorch was at when `error`, or what caused it, was raised."""
    for one in reversed(_causes(error)):
        found = ""
        for frame, _ in traceback.walk_tb(one.__traceback__):
            func = frame.f_locals.get("func")  # what a dispatch mode, such as torch.export's fake tensors, was handed
            found = str(func) if isinstance(func, torch._ops.OpOverload) else found
        if found:
            return found
    return ""


def _causes(error: BaseException) -> list[BaseException]:
    """The error, what caused it, and so on."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def source_of_caller() -> str:
    """The innermost line of the user's model on the stack of this call: below capture.py, which calls the model."""
    places: list[Place] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != _CAPTURE:
        places.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return _shown(_innermost(reversed(places)))


def source_of_forward(model: nn.Module) -> str:
    """The line where the model's `forward` begins; "" if it has no code of its own."""
    forward = inspect.getattr_static(type(model), "forward", None)
    code = getattr(inspect.unwrap(forward) if inspect.isfunction(forward) else None, "__code__", None)
    return _shown((code.co_filename, code.co_firstlineno, code.co_name)) if code else ""


def source_of_frame(frame: FrameType) -> str:
    """The line that `frame` runs, if it is the user's; else ""."""
    return source_at(frame.f_code.co_filename, frame.f_lineno)


def source_at(file: str, line: int) -> str:
    """That line, if it is the user's; else ""."""
    return _shown((file, line, "")) if _rank(file) == 0 else ""


@contextmanager
def whole_stack_traces() -> Iterator[None]:
    """Traces inside the block note every line of the model that a node comes from.

    torch keeps the frames of functions called `forward` only: a line in a helper would be shown as its caller's.
    """
    original = TracerBase._filter_traceback_frames

    def keep(self: TracerBase, user_stack_summary: traceback.StackSummary) -> traceback.StackSummary:
        summary = user_stack_summary
        starts = [i for i, one in enumerate(summary) if one.filename == _CAPTURE and one.name == "forward"]
        if not starts:
            return original(self, summary)
        kept = [one for one in summary[starts[-1] :] if one.name == "forward" or _rank(one.filename) < 2]
        return traceback.StackSummary.from_list(kept)

    TracerBase._filter_traceback_frames = keep
    try:
        yield
    finally:
        TracerBase._filter_traceback_frames = original


def _places(trace: str) -> list[Place]:
    return [(file, int(line), function) for file, line, function in _STACK_FRAME.findall(trace)]


def _innermost(places: Iterable[Place]) -> Place | None:
    """The last place of the user's code; if there is none, of a library.

    An installed package counts as the user's if it has the model's modules, not if these call it (numpy, say).
    """
    given = list(places)
    of_models = {_package(file) for file, _, function in given if function == "forward"}

    def rank(file: str) -> int:
        called = _package(file) and _package(file) not in of_models
        return max(_rank(file), 1 if called else 0)

    ranked = [(place, rank(place[0])) for place in given]
    for wanted in (0, 1):
        found = [place for place, rank in ranked if rank == wanted]
        if found:
            return found[-1]
    return None


def _package(file: str) -> str:
    """The installed package that a file is of; "" of the user's own."""
    found = _PACKAGE.search(file)
    return found[1] if found else ""


def _rank(file: str) -> int:
    """0: the user's. 1: a library whose modules a model is made of. 2: neither."""
    if file.startswith(("<", *_INTERNAL)):
        return 2
    if file.startswith(_STANDARD) and "-packages/" not in file:
        return 2
    return 1 if any(one in file for one in _LIBRARIES) else 0


def _shown(place: Place | None) -> str:
    if place is None:
        return ""
    file, line, _ = place
    source = linecache.getline(file, line).strip()
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}: {source}" if source else f"{path}:{line}"
