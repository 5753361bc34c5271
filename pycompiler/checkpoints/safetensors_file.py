"""Reads safetensors: one file, or several with an index that says which weight is in which. Tensors stay in the file
until they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from recpile.pycompiler.checkpoints.errors import CheckpointError, first_line, quoted
from recpile.pycompiler.checkpoints.torch_file import read_torch_file
from recpile.pycompiler.checkpoints.weights import HeldWeights


def read_safetensors(path: Path) -> HeldWeights:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # Each tensor maps the file for itself: it outlives `file`, and no byte of it is read yet.
            return HeldWeights({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file: {first_line(error)}; write it with "
            "safetensors.torch.save_model(model, path)"
        ) from error


def read_index(path: Path) -> HeldWeights:
    """`*.index.json`: {"weight_map": {weight: file}}, files beside it, safetensors or (`.bin`) of torch.save."""
    try:
        weight_map = json.loads(path.read_text())["weight_map"]
        files = {name: str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f'{path} is not an index of weights ({first_line(error)}); it holds {{"weight_map": {{weight: file}}}}'
        ) from error
    state = {}
    for file in sorted(set(files.values())):
        names = [name for name, where in files.items() if where == file]
        state.update(_part(path, file, names))
    return HeldWeights(state)


def _part(index: Path, file: str, names: list[str]) -> Mapping:
    if Path(file).name != file:
        raise CheckpointError(f"{index} names the file '{file}'; its files lie beside it")
    path = index.parent / file
    if not path.is_file():
        raise CheckpointError(f"{index} names {path}, which is not there; copy all files of the checkpoint")
    held = (read_safetensors(path) if path.suffix == ".safetensors" else read_torch_file(path)).state
    absent = [name for name in names if name not in held]
    if absent:
        raise CheckpointError(f"{path} does not hold {quoted(absent)}, which {index.name} says are there")
    return {name: held[name] for name in names}
