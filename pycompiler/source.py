"""Which line of the user's model a node of a captured graph came from."""

from __future__ import annotations

import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from torch.fx import Node

from recpile.pycompiler.source_lines import traces_of

_FRAME = re.compile(r'\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)')
# Folders of this repository that hold the compiler itself; models/ and tests/ hold models. A frame has the path by
# which its module was imported, and that may lead over a link.
_OURS = tuple(
    str(file.parents[1] / folder) + "/"
    for file in (Path(__file__), Path(__file__).resolve())
    for folder in ("pycompiler", "passes")
)
_PACKAGES = tuple({sysconfig.get_path(one) + "/" for one in ("purelib", "platlib")})
_STANDARD = sysconfig.get_path("stdlib") + "/"


@dataclass(frozen=True)
class SourceLine:
    """A frame of Python: `file` as the exporting machine knows it, relative to where it was run or to site-packages."""

    file: str
    line: int
    function: str
    text: str
    installed: bool  # from a package, not from the user's own code

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}: {self.text}"


def source_traces(node: Node) -> list[list[SourceLine]]:
    """The frames that led to `node`, outermost first, without those of recpile's compiler; a list for each operator of
    the model that `node` stands for. Empty if not recorded."""
    return [frames for trace in traces_of(node) if (frames := _frames(trace))]


def source_of(node: Node) -> SourceLine | None:
    """The line nearest to `node`: of the user's own code if there is one, else of an installed package."""
    frames = next(iter(source_traces(node)), [])
    own = [frame for frame in frames if not frame.installed]
    return (own or frames or [None])[-1]


def _frames(trace: str) -> list[SourceLine]:
    lines = trace.splitlines()
    frames = []
    for i, line in enumerate(lines):
        frame = _FRAME.fullmatch(line)
        if frame is None or frame["file"].startswith(_OURS):
            continue
        following = lines[i + 1].strip() if i + 1 < len(lines) and not _FRAME.fullmatch(lines[i + 1]) else ""
        file, installed = _short(frame["file"])
        frames.append(SourceLine(file, int(frame["line"]), frame["function"], following, installed))
    return frames


def _short(file: str) -> tuple[str, bool]:
    for folder in _PACKAGES:
        if file.startswith(folder):
            return file[len(folder) :], True
    here = str(Path.cwd()) + "/"
    if file.startswith(here):
        return file[len(here) :], False
    return file, file.startswith(_STANDARD)
