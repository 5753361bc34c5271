"""What it saves to compute something once a request: counted as the operators are moved."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from recpile.passes.row_axis import RowAxis

aten = torch.ops.aten
_COPIES = (aten.clone.default, aten.to.dtype, aten._to_copy.default)


class RequestCost:
    """FLOPs a row of the operators moved, and how many features are looked up; told for requests of `candidates`.

    A multiplication and an addition are two FLOPs; a pointwise operator is one an element; views and copies are none.
    """

    def __init__(self, candidates: int) -> None:
        self.candidates = candidates
        self.operators = self.flops = self.features = 0

    def add(self, node: Node, axis: RowAxis | None, products: int) -> None:
        """products: FLOPs of products that `node` takes a row. axis: where its rows lie."""
        self.operators += 1
        pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
        pointwise &= node.target not in _COPIES
        self.flops += products + (_elements_a_row(node, axis) if pointwise and axis else 0)

    def add_lookup(self, features: int) -> None:
        self.operators += 1
        self.features += features

    def described(self) -> str:
        n = self.candidates
        return (
            f"{self.operators} operators run once a request, not once a candidate: at {n} candidates that saves "
            f"{self.flops * (n - 1):,} FLOPs ({self.flops:,} for each but the first) and {self.features * (n - 1):,} "
            "bags looked up"
        )


def _elements_a_row(node: Node, axis: RowAxis) -> int:
    sizes = node.meta["val"].shape
    return axis.outer * axis.inner * math.prod(int(size) for i, size in enumerate(sizes) if i != axis.axis)
