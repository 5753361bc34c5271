"""Finds branches of a graph that do not need each other and are worth a thread each."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch.fx import Node

# FLOPs a row that running side by side must save. Below it, what a second thread and a second call cost (some 30 us)
# eats what it saves even at a few hundred rows: docs/decisions/0012-branches-are-stages-where-it-pays.md.
WORTH_FLOPS: int = 1_000_000
# A row looked up at random costs some 50 ns, the time of so many FLOPs; how many ids a bag has is not known, so one.
_BAG_FLOPS = 10_000

_aten = torch.ops.aten
_PRODUCTS = (
    *(_aten.linear.default, _aten.mm.default, _aten.bmm.default, _aten.matmul.default),
    *(_aten.addmm.default, _aten.baddbmm.default),
)
_ATTENTION = _aten.scaled_dot_product_attention.default


@dataclass(frozen=True)
class Branches:
    """Disjoint groups of nodes, none of which needs another, each in graph order; and what running them at the same
    time saves, in FLOPs a row: all but the longest."""

    groups: tuple[tuple[Node, ...], ...] = ()
    saved: int = 0


def find_branches(nodes: Sequence[Node], rows: int, lookups: Sequence[Node] = (), bags: int = 0) -> Branches:
    """The best branches among `nodes` (in graph order), whose example batch has `rows` rows.

    A branch is what only one value needs: that value, an input of an operator where branches meet, and all that leads
    to nothing but it. What comes before several branches, and what comes after them, is in none. `lookups`, of `bags`
    bags a row in all, are a branch beside those that do not need them.
    """
    inside = set(nodes)
    meeting = [node for node in nodes if len(node.all_input_nodes) > 1]
    after = [user for node in nodes for user in node.users if user.op == "output"]
    best = Branches()
    for join in (*meeting, *after[:1]):
        ends = [one for one in dict.fromkeys(join.all_input_nodes) if one in inside and is_tensor(one)]
        regions = _regions(nodes, ends)
        costs = [sum(product_flops(node) for node in region) // max(rows, 1) for region in regions]
        found = [(region, cost) for region, cost in zip(regions, costs, strict=True) if cost >= WORTH_FLOPS]
        if any(_needs(a, b) or _needs(b, a) for (a, _), (b, _) in combinations(found, 2)):
            continue
        costs = [cost for _, cost in found]
        if lookups and any(not _needs(region, lookups) for region, _ in found):
            costs.append(bags * _BAG_FLOPS)
        saved = sum(costs) - max(costs, default=0)
        if saved >= WORTH_FLOPS and saved > best.saved:
            best = Branches(tuple(region for region, _ in found), saved)
    return best


def is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def is_size(node: Node) -> bool:
    """A number. It has no stage of its own: it is computed in every stage that needs it."""
    return isinstance(node.meta.get("val"), (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool))


def _regions(nodes: Sequence[Node], ends: Sequence[Node]) -> list[tuple[Node, ...]]:
    """For each end, the nodes that lead to it alone; none for a part of a tuple that others read too."""
    regions = []
    for end in ends:
        region = {end}
        for node in reversed(nodes):
            if node.users and all(user in region for user in node.users):
                region.add(node)
        # A tuple cannot cross between stages, so its parts stay with it.
        region -= {one for one in region if one.target is operator.getitem and one.args[0] not in region}
        if end in region:
            regions.append(tuple(node for node in nodes if node in region))
    return regions


def _needs(later: Sequence[Node], earlier: Sequence[Node]) -> bool:
    """Whether anything in `later` depends on something in `earlier`."""
    sought = set(earlier)
    return any(node in sought for node in ancestors(later))


def ancestors(nodes: Iterable[Node]) -> set[Node]:
    """All that the nodes depend on, but for themselves unless they depend on each other."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        new = [one for one in waiting.pop().all_input_nodes if one not in found]
        found.update(new)
        waiting.extend(new)
    return found


def product_flops(node: Node) -> int:
    """Of a matrix product or attention at the example's sizes; everything else is small beside them."""
    if node.target not in _PRODUCTS and node.target is not _ATTENTION:
        return 0
    given = math.prod(_sizes(node))
    if node.target is _ATTENTION:
        key = node.args[1]
        assert isinstance(key, Node)
        return 4 * given * _sizes(key)[-2]
    left = node.args[1 if node.target in (_aten.addmm.default, _aten.baddbmm.default) else 0]
    assert isinstance(left, Node)
    return 2 * given * _sizes(left)[-1]


def _sizes(node: Node) -> list[int]:
    return [int(size.node.hint) if isinstance(size, torch.SymInt) else size for size in node.meta["val"].shape]
