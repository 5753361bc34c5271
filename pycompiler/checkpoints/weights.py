"""What a checkpoint of any format is to the rest: weights by name, of shapes known before their bytes are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightSpec:
    shape: tuple[int, ...]
    dtype: torch.dtype


class Weights(Protocol):
    """An open checkpoint. `notes` say what reading it decided, such as which part of a training dict was taken."""

    @property
    def specs(self) -> Mapping[str, WeightSpec]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights that `into` names: mapped from the file, or read into the tensors given, of the same shapes.

        Neither holds a second copy of all tables in memory. CheckpointError if the bytes cannot be read.
        """
        ...


class HeldWeights:
    """Weights that are tensors already: in memory, or mapped from a file and read when they are used."""

    def __init__(self, state: Mapping[str, Tensor], notes: tuple[str, ...] = ()) -> None:
        self.state = dict(state)
        self.specs = {name: WeightSpec(tuple(value.shape), value.dtype) for name, value in self.state.items()}
        self.notes = notes

    def read(self, into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.state[name] for name in into}
