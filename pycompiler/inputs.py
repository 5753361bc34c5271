"""Checks flat inputs against a manifest, as the C++ engine does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recpile.pycompiler.schema import AXES, CANDIDATE, CANDIDATE_TO_REQUEST, DTYPE_NAMES, REQUEST


class InputError(ValueError):
    """Inputs that the model cannot take: names the input, what it was and what was expected."""


def check_inputs(
    manifest: dict, inputs: Mapping[str, Tensor | np.ndarray], check_ids: bool = True
) -> tuple[dict[str, Tensor], int]:
    """The inputs as tensors, and the number of candidates. InputError for the first thing that is wrong."""
    tensors = [(one, tensor) for one in manifest["inputs"] for tensor in one["tensors"]]
    known = [tensor["name"] for _, tensor in tensors]
    requests = any(REQUEST in tensor["shape"] for _, tensor in tensors)
    given_map = inputs.get(CANDIDATE_TO_REQUEST) if requests else None
    for name in inputs:
        if name not in known and not (requests and name == CANDIDATE_TO_REQUEST):
            raise InputError(f"unknown input '{name}'; the model's inputs are {', '.join(known)}")
    flat: dict[str, Tensor] = {}
    rows: dict[str, tuple[int, str]] = {}  # an axis -> its size, and the input that said so
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
        for axis in AXES:
            if axis in shape:
                size = value.shape[shape.index(axis)]
                first = rows.setdefault(axis, (size, name))
                if first[0] != size:
                    raise InputError(f"input '{name}' has {size} {axis}s; input '{first[1]}' has {first[0]}")
        flat[name] = value.contiguous()
    for axis, (size, name) in rows.items():
        if size == 0:
            raise InputError(f"the request is empty: input '{name}' has 0 {axis}s; send at least 1")
    if requests:
        flat[CANDIDATE_TO_REQUEST] = _check_map(given_map, rows)
    for one in manifest["inputs"]:
        if one["kind"] != "dense":
            _check_jagged(one["name"], flat)
    for ids in looked_up(manifest) if check_ids else ():
        _check_ids(manifest, flat, ids)
    return flat, rows[CANDIDATE][0]


@dataclass(frozen=True)
class LookedUp:
    """Ids that are looked up as the client sends them: one feature, and the table that it is looked up in."""

    values: str
    lengths: str | None  # of a jagged source
    row: int
    columns: int
    size: int
    table: dict

    def positions(self, flat: Mapping[str, Tensor]) -> Tensor:
        """Where in the flattened `values` the ids are."""
        if self.lengths is None:
            every = torch.arange(flat[self.values].numel()).reshape(-1, self.columns)
            return every[:, self.row : self.row + self.size].reshape(-1)
        lengths = flat[self.lengths].reshape(-1, flat[self.lengths].shape[-1])
        start = int(lengths[: self.row].sum())
        return torch.arange(start, start + int(lengths[self.row].sum()))


def looked_up(manifest: dict) -> Iterator[LookedUp]:
    tables = {table["name"]: table for table in manifest["tables"]}
    sent = {tensor["name"] for one in manifest["inputs"] for tensor in one["tensors"]}
    for stage in manifest["stages"]:
        for feature in stage.get("features", ()):
            source = stage["sources"][feature["source"]]
            lengths = source.get("lengths")
            # Ids cut up by lengths that a stage computes are checked where they are looked up.
            if source["values"] in sent and (lengths is None or lengths in sent):
                yield LookedUp(
                    source["values"],
                    lengths,
                    feature["row"],
                    source.get("columns", 0),
                    feature.get("size", 0),
                    tables[feature["table"]],
                )


def _check_map(given: Tensor | np.ndarray | None, rows: Mapping[str, tuple[int, str]]) -> Tensor:
    """Candidate -> index of its request [B]. Without one there is a single request, whose candidates all are."""
    requests, candidates = rows[REQUEST][0], rows[CANDIDATE][0]
    if given is None:
        if requests != 1:
            raise InputError(
                f"input '{rows[REQUEST][1]}' has {requests} requests; send 1, or say with '{CANDIDATE_TO_REQUEST}' "
                "(int64, one a candidate) which candidate is of which request"
            )
        return torch.zeros(candidates, dtype=torch.int64)
    value = torch.as_tensor(given)
    if value.dtype != torch.int64 or list(value.shape) != [candidates]:
        raise InputError(
            f"input '{CANDIDATE_TO_REQUEST}' is {DTYPE_NAMES.get(value.dtype, value.dtype)}{list(value.shape)}; "
            f"expected int64[{candidates}], one a candidate"
        )
    if bool(((value < 0) | (value >= requests)).any()):
        raise InputError(f"input '{CANDIDATE_TO_REQUEST}' names requests outside 0 to {requests - 1}")
    return value.contiguous()


def _check_jagged(name: str, flat: Mapping[str, Tensor]) -> None:
    lengths, values = flat[f"{name}.lengths"], flat[f"{name}.values"]
    if bool((lengths < 0).any()):
        at = int((lengths.reshape(-1) < 0).nonzero()[0])
        raise InputError(
            f"input '{name}.lengths' has {int(lengths.reshape(-1)[at])} at index {at}; lengths are 0 or more"
        )
    longest = int(lengths.max())
    if longest > len(values):  # before they are summed: a sum of such lengths may run over
        raise InputError(
            f"input '{name}.lengths' has a bag of {longest} ids, but '{name}.values' has {len(values)} ids"
        )
    total = int(lengths.sum())
    if total != len(values):
        raise InputError(f"input '{name}.lengths' sums to {total}, but '{name}.values' has {len(values)} ids")
    weights = flat.get(f"{name}.weights")
    if weights is not None and len(weights) != len(values):
        raise InputError(
            f"input '{name}.weights' has {len(weights)} weights, but '{name}.values' has {len(values)} ids"
        )


def _check_ids(manifest: dict, flat: Mapping[str, Tensor], one: LookedUp) -> None:
    positions = one.positions(flat)
    ids = flat[one.values].reshape(-1)[positions]
    wrong = (ids < 0) | (ids >= one.table["rows"])
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise InputError(
            f"input '{one.values}' has id {int(ids[at])} at index {int(positions[at])}{_of_key(manifest, one)}; "
            f"table '{one.table['name']}' has ids 0 to {one.table['rows'] - 1}"
        )


def _of_key(manifest: dict, one: LookedUp) -> str:
    name = one.values.removesuffix(".values")
    keys = next((i.get("keys") for i in manifest["inputs"] if i["name"] == name), None)
    return f" (key '{keys[one.row]}')" if keys and one.lengths else ""


def _shown(shape: list[int | str]) -> str:
    return str(["-1" if isinstance(size, str) else str(size) for size in shape]).replace("'", "")
