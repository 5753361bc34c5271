"""Random inputs that a model takes: what artifacts are checked on, and what the debug runtime is tried with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recpile.pycompiler.inputs import looked_up
from recpile.pycompiler.schema import CANDIDATE, CANDIDATE_TO_REQUEST, DTYPES, REQUEST

_NOT_LOOKED_UP = 2  # ids and whole numbers that no table bounds are 0 or 1


def random_inputs(
    manifest: dict, candidates: int, seed: int = 0, longest_bag: int = 4, requests: int = 1, whole: bool = False
) -> dict[str, Tensor]:
    """Inputs that pass check_inputs: normal dense values, bags of 0 to `longest_bag` ids, each in its table's range.

    `requests` counts the rows of the request axis, if the model has one; candidates are dealt out to them in order.
    With `whole`, dense values are 0 or 1: for a model that takes ids among its floats.
    """
    make = torch.Generator().manual_seed(seed)
    axes = {CANDIDATE: candidates, REQUEST: min(requests, candidates)}
    flat: dict[str, Tensor] = {}
    for one in manifest["inputs"]:
        if one["kind"] == "dense":
            (tensor,) = one["tensors"]
            sizes = [axes.get(size, size) for size in tensor["shape"]]
            dtype = DTYPES[tensor["dtype"]]
            draw = torch.randint(0, 2, sizes, generator=make)
            if dtype.is_floating_point and not whole:
                draw = torch.randn(sizes, generator=make)
            flat[one["name"]] = draw.to(dtype)
            continue
        values, lengths, *weights = one["tensors"]
        sizes = [axes.get(size, size) for size in lengths["shape"]]
        bags = torch.randint(0, longest_bag + 1, sizes, generator=make)
        flat[lengths["name"]] = bags.to(DTYPES[lengths["dtype"]])
        flat[values["name"]] = torch.zeros(int(bags.sum()), dtype=DTYPES[values["dtype"]])
        for tensor in weights:
            flat[tensor["name"]] = torch.rand(int(bags.sum()), generator=make)
    if any(REQUEST in tensor["shape"] for one in manifest["inputs"] for tensor in one["tensors"]):
        flat[CANDIDATE_TO_REQUEST] = torch.arange(candidates) * axes[REQUEST] // candidates
    _draw_ids(manifest, flat, make)
    names = [tensor["name"] for one in manifest["inputs"] for tensor in one["tensors"]]
    return {name: flat[name] for name in (*names, CANDIDATE_TO_REQUEST) if name in flat}


def _draw_ids(manifest: dict, flat: dict[str, Tensor], make: torch.Generator) -> None:
    limits: dict[str, Tensor] = {}
    for ids in looked_up(manifest):
        values = flat[ids.values]
        limit = limits.setdefault(ids.values, torch.full((values.numel(),), torch.iinfo(torch.int64).max))
        positions = ids.positions(flat)
        limit[positions] = limit[positions].clamp(max=ids.table["rows"])
    for name in _id_tensors(manifest, limits):
        values = flat[name]
        limit = limits.get(name, torch.full((values.numel(),), _NOT_LOOKED_UP))
        limit = torch.where(limit == torch.iinfo(torch.int64).max, _NOT_LOOKED_UP, limit)
        drawn = (torch.rand(values.numel(), generator=make, dtype=torch.float64) * limit).long()
        flat[name] = drawn.reshape(values.shape).to(values.dtype)


def _id_tensors(manifest: dict, limits: Mapping[str, Tensor]) -> list[str]:
    jagged = [f"{one['name']}.values" for one in manifest["inputs"] if one["kind"] != "dense"]
    return [*jagged, *(name for name in limits if name not in jagged)]
