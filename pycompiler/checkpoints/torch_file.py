"""Reads what torch.save wrote: mapped rather than read, and without executing anything in it (weights_only)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from recpile.pycompiler.checkpoints.containers import find_state
from recpile.pycompiler.checkpoints.errors import CheckpointError, first_line
from recpile.pycompiler.checkpoints.inert import stand_ins
from recpile.pycompiler.checkpoints.sharded import READABLE, whole
from recpile.pycompiler.checkpoints.weights import HeldWeights


def read_torch_file(path: Path, key: str | None = None) -> HeldWeights:
    """The state_dict of a `.pt` file; of a training dict, its obvious entry or the one at `key`."""
    # Files from before the zip format (torch 1.6) can neither be mapped nor asked what they hold.
    zipped = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(READABLE):
            others = stand_ins(path) if zipped else []
            with torch.serialization.safe_globals([*READABLE, *others]):
                held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch.load raises a dozen types, from RuntimeError to UnpicklingError
        raise CheckpointError(
            f"{path} is not a readable checkpoint: {_reason(error)}; write it with torch.save(model.state_dict(), path)"
        ) from error
    state, notes = find_state(held, lambda value: isinstance(value, Tensor), str(path), key)
    return HeldWeights({name: whole(name, value) for name, value in state.items()}, notes)


def _reason(error: Exception) -> str:
    # What torch says of this advises to load the file unsafely.
    if "Weights only load failed" in str(error):
        return "it holds more than tensors and plain data"
    return first_line(error)
