"""Checks flat inputs against a manifest, as the C++ engine does, and makes random ones that pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from recpile.pycompiler.schema import CANDIDATE, DTYPE_NAMES, DTYPES


class InputError(ValueError):
    """Inputs that the model cannot take: names the input, what it was and what was expected."""


def check_inputs(manifest: dict, inputs: Mapping[str, Tensor | np.ndarray]) -> tuple[dict[str, Tensor], int]:
    """The inputs as tensors, and the number of candidates. InputError for the first thing that is wrong."""
    tensors = [(one, tensor) for one in manifest["inputs"] for tensor in one["tensors"]]
    known = [tensor["name"] for _, tensor in tensors]
    for name in inputs:
        if name not in known:
            raise InputError(f"unknown input '{name}'; the model's inputs are {', '.join(known)}")
    flat: dict[str, Tensor] = {}
    batch: tuple[int, str] | None = None
    for _, tensor in tensors:
        name, shape = tensor["name"], tensor["shape"]
        if name not in inputs:
            raise InputError(f"input '{name}' is missing; the model's inputs are {', '.join(known)}")
        value = torch.as_tensor(inputs[name])
        if DTYPE_NAMES.get(value.dtype) != tensor["dtype"]:
            raise InputError(
                f"input '{name}' is {DTYPE_NAMES.get(value.dtype, value.dtype)}; expected {tensor['dtype']}"
            )
        fits = len(shape) == value.ndim and all(
            isinstance(s, str) or s == got for s, got in zip(shape, value.shape, strict=True)
        )
        if not fits:
            raise InputError(f"input '{name}' has shape {list(value.shape)}; expected {_shown(shape)}")
        if CANDIDATE in shape:
            rows = value.shape[shape.index(CANDIDATE)]
            if batch is not None and batch[0] != rows:
                raise InputError(f"input '{name}' has {rows} candidates; input '{batch[1]}' has {batch[0]}")
            batch = batch or (rows, name)
        flat[name] = value.contiguous()
    assert batch is not None
    if batch[0] == 0:
        raise InputError(f"the request is empty: input '{batch[1]}' has 0 candidates; send at least 1")
    for one in manifest["inputs"]:
        if one["kind"] != "dense":
            _check_jagged(one["name"], flat)
    for name, row, table in looked_up(manifest):
        _check_ids(manifest, flat, name, row, table)
    return flat, batch[0]


def looked_up(manifest: dict) -> Iterator[tuple[str, int, dict]]:
    """(jagged input, row of its lengths, table) for every feature that is looked up as the client sends it."""
    tables = {table["name"]: table for table in manifest["tables"]}
    jagged = {f"{one['name']}.values": one["name"] for one in manifest["inputs"] if one["kind"] != "dense"}
    for stage in manifest["stages"]:
        for feature in stage.get("features", ()):
            values = stage["sources"][feature["source"]]["values"]
            if values in jagged:
                yield jagged[values], feature["row"], tables[feature["table"]]


def random_inputs(manifest: dict, candidates: int, seed: int = 0, longest_bag: int = 4) -> dict[str, Tensor]:
    """Inputs that pass check_inputs: normal dense values, bags of 0 to `longest_bag` ids, each in its table's range."""
    make = torch.Generator().manual_seed(seed)
    limits: dict[tuple[str, int], int] = {}
    for name, row, table in looked_up(manifest):
        limits[name, row] = min(limits.get((name, row), table["rows"]), table["rows"])
    flat: dict[str, Tensor] = {}
    for one in manifest["inputs"]:
        if one["kind"] == "dense":
            (tensor,) = one["tensors"]
            sizes = [candidates if size == CANDIDATE else size for size in tensor["shape"]]
            dtype = DTYPES[tensor["dtype"]]
            draw = (
                torch.randn(sizes, generator=make)
                if dtype.is_floating_point
                else torch.randint(0, 2, sizes, generator=make)
            )
            flat[one["name"]] = draw.to(dtype)
            continue
        values, lengths, *weights = one["tensors"]
        rows = len(one.get("keys", [one["name"]]))
        bags = torch.randint(0, longest_bag + 1, (rows, candidates), generator=make)
        ids = [
            torch.randint(0, limits.get((one["name"], r), 2), (int(bags[r].sum()),), generator=make)
            for r in range(rows)
        ]
        flat[values["name"]] = torch.cat(ids).to(DTYPES[values["dtype"]])
        flat[lengths["name"]] = bags.reshape(candidates if one["kind"] == "jagged" else bags.shape).to(
            DTYPES[lengths["dtype"]]
        )
        for tensor in weights:
            flat[tensor["name"]] = torch.rand(int(bags.sum()), generator=make)
    return flat


def _check_jagged(name: str, flat: Mapping[str, Tensor]) -> None:
    lengths, values = flat[f"{name}.lengths"], flat[f"{name}.values"]
    if bool((lengths < 0).any()):
        at = int((lengths.reshape(-1) < 0).nonzero()[0])
        raise InputError(
            f"input '{name}.lengths' has {int(lengths.reshape(-1)[at])} at index {at}; lengths are 0 or more"
        )
    total = int(lengths.sum())
    if total != len(values):
        raise InputError(f"input '{name}.lengths' sums to {total}, but '{name}.values' has {len(values)} ids")
    weights = flat.get(f"{name}.weights")
    if weights is not None and len(weights) != len(values):
        raise InputError(
            f"input '{name}.weights' has {len(weights)} weights, but '{name}.values' has {len(values)} ids"
        )


def _check_ids(manifest: dict, flat: Mapping[str, Tensor], name: str, row: int, table: dict) -> None:
    lengths = flat[f"{name}.lengths"].reshape(-1, flat[f"{name}.lengths"].shape[-1])
    start, size = int(lengths[:row].sum()), int(lengths[row].sum())
    ids = flat[f"{name}.values"][start : start + size]
    wrong = (ids < 0) | (ids >= table["rows"])
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise InputError(
            f"input '{name}.values' has id {int(ids[at])} at index {start + at}{_of_key(manifest, name, row)}; "
            f"table '{table['name']}' has ids 0 to {table['rows'] - 1}"
        )


def _of_key(manifest: dict, name: str, row: int) -> str:
    keys = next(one for one in manifest["inputs"] if one["name"] == name).get("keys")
    return f" (key '{keys[row]}')" if keys else ""


def _shown(shape: list[int | str]) -> str:
    return str(["-1" if isinstance(size, str) else str(size) for size in shape]).replace("'", "")
