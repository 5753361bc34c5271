"""Where the rows of requests, or of candidates, lie in a value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy
import torch
from torch import Tensor


@dataclass(frozen=True)
class RowAxis:
    """Axis `axis` of a value has outer x rows x inner places: seen as [..., outer, rows, inner, ...], its middle is the
    batch. Attention with its batch second has axis 1; with heads merged into the batch, inner is the heads."""

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def merged(self) -> bool:
        return self.outer * self.inner > 1

    def apart(self, value: Tensor) -> Tensor:
        """[rows, ..., outer * inner, ...]: what each row has of `value`."""
        before, after = value.shape[: self.axis], value.shape[self.axis + 1 :]
        split = value.reshape(*before, self.outer, -1, self.inner, *after).movedim(self.axis + 1, 0)
        return split.reshape(split.shape[0], *before, self.outer * self.inner, *after)


def possible_axes(value: object, batch: sympy.Expr, likely: Iterable[RowAxis]) -> list[RowAxis]:
    """Every way in which a value of `batch` rows may hold them, by its sizes; `likely` ones first. None of a value that
    has no such axis, or another size that is not known."""
    if not isinstance(value, Tensor):
        return []
    unknown = [(axis, size) for axis, size in enumerate(value.shape) if isinstance(size, torch.SymInt)]
    if len(unknown) != 1:
        return []
    axis, size = unknown[0]
    times = size.node.expr / batch
    if not times.is_Integer:
        return []
    every = [RowAxis(axis, int(times) // inner, inner) for inner in sympy.divisors(int(times))]
    splits = {(one.outer, one.inner) for one in likely}
    return sorted(every, key=lambda one: (one.outer, one.inner) not in splits)
