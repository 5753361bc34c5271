"""Watches what a model's forward leaves behind past torch.export's eyes: writes through `.data`, attributes that it
sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from recpile.pycompiler.source_lines import source_of_frame

_DATA = "data"


@dataclass(frozen=True)
class LeftBehind:
    """Lines of the model, "file:line: source", each once: those that reach for a tensor's `.data`; by their paths,
    the buffers that are assigned anew, and the other attributes that are set."""

    data: dict[str, None] = field(default_factory=dict)
    buffers: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


@contextmanager
def watch_left_behind(model: nn.Module) -> Iterator[LeftBehind]:
    """Collects what lines of the user's leave behind in `model` while the block runs, in this process."""
    found = LeftBehind()
    paths = {id(module): path for path, module in model.named_modules()}
    set_attribute, data = nn.Module.__setattr__, getattr(torch.Tensor, _DATA)

    def watched_set(self: nn.Module, name: str, value: Any) -> None:
        path = paths.get(id(self))
        if path is not None and (source := source_of_frame(sys._getframe(1))):
            into = found.buffers if name in self._buffers else found.attributes
            into.setdefault(f"{path}.{name}" if path else name, source)
        set_attribute(self, name, value)

    def note_data() -> None:
        if source := source_of_frame(sys._getframe(2)):
            found.data[source] = None

    def get_data(self: torch.Tensor) -> torch.Tensor:
        note_data()
        return data.__get__(self)

    def set_data(self: torch.Tensor, value: torch.Tensor) -> None:
        note_data()
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
