"""Finds the line of a model that draws random numbers from Python or numpy: torch.export takes them for constants."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Hashable
from types import FrameType
from typing import Any

import numpy as np

from recpile.pycompiler.source_lines import source_of_frame


def random_state() -> Hashable:
    """The state of the global generators of `random` and `numpy.random`: another one once somebody has drawn."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), np.asarray(keys).tobytes(), tuple(rest)


def drawing_line(run: Callable[[], object]) -> str:
    """The first line of the user's code, as "file:line: source", at which `run` draws from one; "" if none does.

    `run` is traced line by line in this thread, several times as slow as it is.
    """
    state, before, found = random_state(), "", ""

    def at_line(frame: FrameType, event: str, arg: Any) -> Callable | None:
        nonlocal state, before, found
        if not found:
            now = random_state()
            found = before if now != state else ""  # what ran since the last line of the user's was called by it
            state, before = now, source_of_frame(frame)
        return at_line

    def at_call(frame: FrameType, event: str, arg: Any) -> Callable | None:
        return at_line if source_of_frame(frame) else None

    traced = sys.gettrace()
    sys.settrace(at_call)
    try:
        run()
    finally:
        sys.settrace(traced)
    return found
