"""What each table and each dense layer costs at each type, measured one at a time on calibration rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recpile.passes.quantize_tables import table_error
from recpile.pycompiler.evaluation.statistics import losses, relative_loss, relative_loss_noise
from recpile.pycompiler.packing import TABLE_DTYPES, fits, pack, unpack
from recpile.pycompiler.precision.cache import Cache
from recpile.pycompiler.precision.layers import Layers
from recpile.pycompiler.precision.stages import Rows, StagesOnRows
from recpile.pycompiler.precision.time import layer_nanoseconds, table_nanoseconds


@dataclass(frozen=True)
class Sensitivity:
    """One table or layer at one type, all others as they are.

    measured: relative change of normalized entropy on the labels, of standard error `noise`. expected: mean
    Kullback-Leibler divergence of the scores from those before, over the log loss: what the change costs if the model
    is calibrated; it needs no labels and so has far less noise. hit_error: mean absolute error of an element, a
    table's rows weighted by how often they are hit. nanoseconds: a row's, roughly (precision/time.py).
    """

    name: str
    dtype: str
    bytes: int
    measured: float
    noise: float
    expected: float
    hit_error: float
    nanoseconds: float = 0.0
    kind: str = "table"  # or "layer"

    @property
    def key(self) -> str:
        """Among tables and layers, which may have the same names."""
        return self.name if self.kind == "table" else f"layer {self.name}"

    @property
    def loss(self) -> float:
        """What the search reckons with: how far the scores moved, or what labels say beyond doubt if that is more."""
        return max(self.expected, self.measured - 2 * self.noise, 0.0)


def types_of(weight: Tensor) -> list[str]:
    """The types that are tried for a table, fp32 [rows, dim], largest first.

    fp16 and bf16 take the same bytes and the same time: of these the one whose rows are nearer, which is bf16 where
    values are beyond fp16's range, or so small that fp16 has hardly a bit for them.
    """
    further = "fp16" if _error(weight, "bf16") < _error(weight, "fp16") else "bf16"
    return [dtype for dtype in TABLE_DTYPES if dtype != further and fits(dtype, weight.shape[1])]


def measure(
    stages: StagesOnRows,
    weights: dict[str, Tensor],
    layers: Layers | None,
    cache: Cache,
    progress: Callable[[str], None],
) -> dict[str, list[Sensitivity]]:
    """By name, the largest type first. `weights`: fp32 [rows, dim] of the tables to search; `layers`: those to search.
    What `cache` holds is not measured again, and what is measured goes there at once."""
    before = stages.scores()
    hits = stages.hits()
    searched = layers.searched if layers else {}
    wanted = [("table", name, dtype) for name, weight in weights.items() for dtype in types_of(weight)]
    wanted += [("layer", name, dtype) for name, layer in searched.items() for dtype in layer.types]
    found: dict[str, list[Sensitivity]] = {}
    for done, (kind, name, dtype) in enumerate(wanted):
        progress(f"sensitivity {done + 1} of {len(wanted)}: {kind} {name} in {dtype}")
        key = name if kind == "table" else f"layer {name}"
        known = cache.get(key, dtype)
        if known:
            one: Sensitivity | None = Sensitivity(**known)
        elif kind == "table":
            one = _measure(stages, before, name, weights[name], dtype, hits[name])
        else:
            assert layers is not None
            one = measure_layer(stages, before, layers, name, dtype)
        if one is None:  # values that the type cannot hold
            continue
        if known is None:
            cache.put(key, dtype, vars(one))
        found.setdefault(one.key, []).append(one)
    return found


def measure_layer(stages: StagesOnRows, before: np.ndarray, layers: Layers, name: str, dtype: str) -> Sensitivity:
    """One layer in one type, all others and all tables in fp32."""
    layer = layers.searched[name]
    made = layer.types[dtype]
    after = before if dtype == "fp32" else stages.scores(code=layers.code({name: dtype}))
    return Sensitivity(
        name,
        dtype,
        made.bytes,
        relative_loss(stages.labels, before, after),
        relative_loss_noise(stages.labels, before, after),
        divergence(stages.labels, before, after),
        made.error.mean,
        layer_nanoseconds(layer.flops, dtype),
        "layer",
    )


def divergence(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of scores `after` [N] from `before`, over the log loss of `before`."""
    p, q = (np.clip(one.astype(np.float64), 1e-12, 1 - 1e-12) for one in (before, after))
    moved = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return float(moved.mean() / losses(labels, before).mean())


def _measure(
    stages: StagesOnRows, before: np.ndarray, name: str, weight: Tensor, dtype: str, hits: Tensor
) -> Sensitivity | None:
    try:
        packed = pack(weight, dtype)
    except ValueError:
        return None
    nanoseconds = table_nanoseconds(float(hits.sum()) / len(before), packed.shape[1])
    if dtype == "fp32":
        return Sensitivity(name, dtype, packed.numel(), 0.0, 0.0, 0.0, 0.0, nanoseconds)
    after = stages.scores({name: Rows(packed, dtype)})
    return Sensitivity(
        name,
        dtype,
        packed.numel(),
        relative_loss(stages.labels, before, after),
        relative_loss_noise(stages.labels, before, after),
        divergence(stages.labels, before, after),
        _hit_error(weight, packed, dtype, hits),
        nanoseconds,
    )


def _error(weight: Tensor, dtype: str) -> float:
    try:
        return table_error(weight, pack(weight, dtype), dtype, weight.shape[1]).mean
    except ValueError:  # values that the type cannot hold
        return float("inf")


def _hit_error(weight: Tensor, packed: Tensor, dtype: str, hits: Tensor) -> float:
    rows = hits.nonzero().reshape(-1)
    if not len(rows):
        return 0.0
    error = (unpack(packed[rows], dtype, weight.shape[1]) - weight[rows].detach()).abs().mean(dim=1)
    return float((error * hits[rows]).sum(dtype=torch.float64) / hits.sum())
