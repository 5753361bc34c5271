"""Which nodes of the graph make up which stage."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from recpile.passes.branches import ancestors, find_branches, is_size
from recpile.passes.graph import LOOKUPS, LookupCall


@dataclass(frozen=True)
class Part:
    """The nodes of one stage to be, in graph order. `why`: what there is to say of it in the log."""

    name: str
    kind: str
    nodes: tuple[Node, ...]
    why: str = ""


def stage_parts(nodes: Sequence[Node]) -> list[Part]:
    """The stages of a whole graph, in an order in which they can run."""
    level: dict[Node, int] = {}  # how many lookups lie on the longest way to a node
    for node in nodes:
        level[node] = max((level[one] + (one.target in LOOKUPS) for one in node.all_input_nodes), default=0)
    last = level[nodes[-1]]
    # The level of the first lookup that needs a node, found from the end.
    needed: dict[Node, int] = {}
    for node in reversed(nodes):
        needed[node] = min((level[u] if u.target in LOOKUPS else needed[u] for u in node.users), default=last)
    for node in nodes:
        if node.target is operator.getitem:  # only tensors cross stages, so a tuple's parts stay with the tuple
            needed[node] = needed[node.all_input_nodes[0]]
    work = [n for n in nodes if n.op not in ("placeholder", "get_attr", "output") and not is_size(n)]
    lookups = {k: [n for n in work if n.target in LOOKUPS and level[n] == k] for k in range(last + 1)}
    every = [node for found in lookups.values() for node in found]
    dense = {}
    for k in range(last + 1):
        mine = [n for n in work if n.target not in LOOKUPS and needed[n] == k]
        dense[k] = _with_branches(mine, _rows(nodes), every if k == last else [])
    numbered = sum(len(groups) for groups in dense.values()) > 1
    parts: list[Part] = []
    for k in range(last + 1):
        for group, why in dense[k]:
            count = sum(part.kind == "compiled" for part in parts)
            parts.append(Part(f"dense_{count}" if numbered else "dense", "compiled", group, why))
        for node in lookups[k]:
            count = sum(part.kind == "embedding" for part in parts)
            parts.append(Part(f"embedding_{count}" if len(every) > 1 else "embedding", "embedding", (node,)))
    return parts


def _with_branches(nodes: list[Node], rows: int, lookups: list[Node]) -> list[tuple[tuple[Node, ...], str]]:
    """Dense nodes as the groups that become stages: what branches need, the branches, and the rest."""
    bags = sum(len(LookupCall.of(one).feature_table) for one in lookups)
    branches = find_branches(nodes, rows, lookups, bags)
    if not branches.groups:
        return [(tuple(nodes), "")] if nodes else []
    split = {node for group in branches.groups for node in group}
    before = (ancestors(split) & set(nodes)) - split
    before |= {n for n in nodes if n.target is operator.getitem and n.args[0] in before}
    after = [n for n in nodes if n not in split and n not in before]
    why = f"; may run beside others, which saves {branches.saved:,} FLOPs a row"
    groups = [
        (tuple(n for n in nodes if n in before), ""),
        *((group, why) for group in branches.groups),
        (tuple(after), ""),
    ]
    return [(group, said) for group, said in groups if group]


def _rows(nodes: Sequence[Node]) -> int:
    """Of the example batch: the first size that varies is that of a batch axis, or more."""
    sizes = (
        int(size.node.hint)
        for node in nodes
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor)
        for size in node.meta["val"].shape
        if isinstance(size, torch.SymInt) and size.node.hint is not None
    )
    return min(sizes, default=1)
