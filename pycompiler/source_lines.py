"""Where in the user's code something comes from: "file:line: source" of a node, of an error, of a call."""

from __future__ import annotations

import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch.fx import Node
from torch.fx.proxy import TracerBase

_HERE = Path(__file__).resolve().parent
# Ours and torch's own code. recpile.models is code that a user could have written.
_INTERNAL = tuple(f"{path}/" for path in (Path(torch.__file__).resolve().parent, _HERE, _HERE.parent / "passes"))
_CAPTURE = str(_HERE / "capture.py")  # its FlatModel.forward calls the model
_LIBRARIES = ("/site-packages/torchrec/", "/site-packages/fbgemm_gpu/")
_STANDARD = f"{Path(sysconfig.get_path('stdlib')).resolve()}/"
_STACK_FRAME = re.compile(r'File "(.+?)", line (\d+)')

Place = tuple[str, int]


def source_of(node: Node) -> str:
    """The innermost line of the user's model that made `node`, as "file:line: source"; "" if none is known."""
    return _shown(_innermost(_places(node)))


def at(node: Node) -> str:
    """source_of, ready to follow a name in a message: " (file:line: source)", or nothing."""
    source = source_of(node)
    return f" ({source})" if source else ""


def named(node: Node) -> str:
    """An operator as a user knows it: its name, its place in the graph, its line."""
    return f"{node.target} '{node.name}'{at(node)}"


def source_of_error(error: BaseException) -> str:
    """The innermost line of the user's model that `error`, or what caused it, was raised through."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _shown(_innermost((one.filename, one.lineno or 0) for one in traceback.extract_tb(error.__traceback__)))


def source_of_caller() -> str:
    """The innermost line of the user's model on the stack of this call: below capture.py, which calls the model."""
    places: list[Place] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != _CAPTURE:
        places.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return _shown(_innermost(reversed(places)))


def source_of_frame(frame: FrameType) -> str:
    """The line that `frame` runs, if it is the user's; else ""."""
    place = (frame.f_code.co_filename, frame.f_lineno)
    return _shown(place) if _rank(place[0]) == 0 else ""


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


def _places(node: Node) -> list[Place]:
    return [(file, int(line)) for file, line in _STACK_FRAME.findall(node.meta.get("stack_trace") or "")]


def _innermost(places: Iterable[Place]) -> Place | None:
    """The last place of the user's code; if there is none, of a library of models."""
    ranked = [(place, _rank(place[0])) for place in places]
    for wanted in (0, 1):
        found = [place for place, rank in ranked if rank == wanted]
        if found:
            return found[-1]
    return None


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
    file, line = place
    source = linecache.getline(file, line).strip()
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}: {source}" if source else f"{path}:{line}"
