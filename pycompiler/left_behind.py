"""Watches what a model's forward leaves behind past torch.export's eyes: weights and attributes that it sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from recpile.pycompiler.source_lines import source_of_frame
from recpile.pycompiler.swap import CaptureError

_DATA = "data"


_SHARED = "requests share the model, so nothing may be left behind"


@contextmanager
def watch_left_behind(model: nn.Module) -> Iterator[dict[str, str]]:
    """Collects the attributes of `model` that lines of the user's set while the block runs, in this process: path ->
    "file:line: source".

    CaptureError where one assigns a buffer or a tensor's `.data`. What is read or changed through `.data` is seen by
    torch.export as if it were `.detach()`.
    """
    found: dict[str, str] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    set_attribute, data = nn.Module.__setattr__, getattr(torch.Tensor, _DATA)

    def watched_set(self: nn.Module, name: str, value: Any) -> None:
        path = paths.get(id(self))
        if path is not None and (source := source_of_frame(sys._getframe(1))):
            full = f"{path}.{name}" if path else name
            if name in self._buffers:
                raise CaptureError(
                    f"the model changes its buffer '{full}' when it runs ({source}); {_SHARED}: keep it in a local "
                    "variable, or move the update under self.training"
                )
            found.setdefault(full, source)
        set_attribute(self, name, value)

    def get_data(self: torch.Tensor) -> torch.Tensor:
        # The same memory, but torch.export sees what is done with it.
        return self.detach() if source_of_frame(sys._getframe(1)) else data.__get__(self)

    def set_data(self: torch.Tensor, value: torch.Tensor) -> None:
        if source := source_of_frame(sys._getframe(1)):
            raise CaptureError(
                f"the model assigns a tensor's .data when it runs ({source}); {_SHARED}: compute a new tensor instead "
                "(weight * 0.9), or do it under self.training only"
            )
        data.__set__(self, value)

    inherited = _DATA not in vars(torch.Tensor)  # it is not, of a watch inside another
    nn.Module.__setattr__ = watched_set
    setattr(torch.Tensor, _DATA, property(get_data, set_data))
    try:
        yield found
    finally:
        nn.Module.__setattr__ = set_attribute
        if inherited:
            delattr(torch.Tensor, _DATA)
        else:
            setattr(torch.Tensor, _DATA, data)
