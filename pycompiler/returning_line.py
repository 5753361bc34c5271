"""Finds the line of a model that returns what its forward gives, for outputs that cannot be served."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from torch import nn

from recpile.pycompiler.source_lines import source_of_frame


def returning_line(model: nn.Module, run: Callable[[], object]) -> str:
    """ "file:line: source" of the `return` that made what `model.forward` gives, while `run` calls it: in a function
    that forward calls, if it hands on that function's result. "" if forward does not return, or is not the user's.

    `run` is watched in this thread, call by call; what it raises is dropped.
    """
    forward = getattr(inspect.unwrap(type(model).forward), "__code__", None)
    returned: object = None
    line, found = "", ""

    def at_event(frame: FrameType, event: str, value: Any) -> None:
        nonlocal returned, line, found
        if event != "return" or not (source := source_of_frame(frame)):
            return
        handed_on = bool(line) and value is returned and value is not None
        returned, line = value, line if handed_on else source
        if frame.f_code is forward:
            found = line

    watched = sys.getprofile()
    sys.setprofile(at_event)
    try:
        run()
    except Exception:  # the error that is being explained
        pass
    finally:
        sys.setprofile(watched)
    return found
