"""The C++ engine in Python: `from recpile.runtime_cpp import Engine`."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence

# First: it brings libtorch into the process, which the extension links to.
import torch  # noqa: F401

from recpile.runtime_cpp import _engine

__all__ = ["Engine"]

_live: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine(_engine.Engine):
    """One loaded artifact, its worker threads and its queue. Loading executes code from the artifact.

    Options are those of `recpile-server --help`. ValueError for a bad option or artifact, FileNotFoundError, or
    RuntimeError for an artifact that is not for this machine. Loading sets PyTorch to one thread an operator in this
    whole process: instances are what runs side by side.
    """

    def __init__(self, path: str | os.PathLike[str], **options: int | bool | str | Sequence[int]) -> None:
        super().__init__(os.fspath(path), **options)  # pyrefly: ignore [bad-argument-type]
        _live.add(self)


@atexit.register
def _stop_all() -> None:
    # While there is still an interpreter: answers are handed out under its lock.
    for engine in list(_live):
        engine.stop()
