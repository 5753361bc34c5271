"""Loads a checkpoint into a model by name, and is strict about it: every weight is found, none is left over."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

_MOST_LISTED = 10


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that does not fit the model."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state_dict of a `.pt` file, mmapped; nothing in the file is executed (weights_only)."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give a file written by torch.save(model.state_dict(), path)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises a dozen types, from RuntimeError to UnpicklingError
        raise CheckpointError(
            f"{path} is not a readable checkpoint: {_first_line(error)}; "
            "write it with torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        held = sorted(state)[:5] if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(f"{path} holds {held}, not a flat state_dict of tensors; save model.state_dict() itself")
    return dict(state)


def load_checkpoint(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts `state` into `model`. CheckpointError lists every missing, unexpected or misshapen weight by name."""
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted]
    misshapen = [
        f"'{name}' is {_shape(state[name])} in the checkpoint and {_shape(wanted[name])} in the model"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing: " + _listed([_with_guess(name, unexpected) for name in missing]))
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected: " + _listed([f"'{name}'" for name in unexpected]))
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape: " + _listed(misshapen))
    if problems:
        raise CheckpointError("the checkpoint does not fit the model; weights " + "; ".join(problems))
    # Copied rather than assigned: a parameter that two modules share stays one parameter.
    model.load_state_dict(state, strict=True)


def _with_guess(name: str, candidates: list[str]) -> str:
    guess = difflib.get_close_matches(name, candidates, n=1, cutoff=0.8)
    return f"'{name}' (did you mean the checkpoint's '{guess[0]}'?)" if guess else f"'{name}'"


def _listed(items: list[str]) -> str:
    more = len(items) - _MOST_LISTED
    return ", ".join(items[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
