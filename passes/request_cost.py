"""What it saves to compute something once a request: counted as the operators are moved."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

aten = torch.ops.aten


class RequestCost:
    """FLOPs a row of the operators moved, and how many features are looked up; told for requests of `candidates`.

    A multiplication and an addition are two FLOPs; a pointwise operator is one an element; views are none.
    """

    def __init__(self, candidates: int) -> None:
        self.candidates = candidates
        self.operators = self.flops = self.features = 0

    def add(self, node: Node) -> None:
        self.operators += 1
        self.flops += _flops_a_row(node)

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


def _flops_a_row(node: Node) -> int:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return 0
    elements = math.prod(int(size) for size in value.shape[1:])
    inner = {aten.linear.default: 0, aten.mm.default: 0, aten.matmul.default: 0, aten.bmm.default: 0}
    if node.target in inner:
        first = node.args[0]
        assert isinstance(first, Node)
        return 2 * elements * int(first.meta["val"].shape[-1])
    if node.target is aten.scaled_dot_product_attention.default:
        key = node.args[1]
        assert isinstance(key, Node)
        return 4 * elements * int(key.meta["val"].shape[-2])
    pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
    return elements if pointwise else 0
