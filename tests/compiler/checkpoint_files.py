"""What tests of checkpoint files share: one small state, and how it is read back."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from recpile.pycompiler.checkpoints.read import read_checkpoint

STATE = {"hidden.weight": torch.arange(6.0).reshape(2, 3), "hidden.bias": torch.tensor([1.0, 2.0])}


def saved(path: Path, what: object) -> Path:
    torch.save(what, path)
    return path


def held(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Everything in a checkpoint, read."""
    weights = read_checkpoint(path, key)
    return weights.read({name: torch.zeros(spec.shape, dtype=spec.dtype) for name, spec in weights.specs.items()})


def same(got: dict[str, Tensor], wanted: dict[str, Tensor] = STATE) -> bool:
    return list(got) == list(wanted) and all(torch.equal(got[name], wanted[name]) for name in wanted)


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "executed")
