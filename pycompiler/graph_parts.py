"""The beginning of a graph, up to one of its operators; and the first beginning that does not compile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.fx import Graph, GraphModule, Node


def first_uncompiled(module: GraphModule, compiles: Callable[[GraphModule], bool]) -> Node | None:
    """The first operator of a `module` that does not compile up to which it does not: found by halves, so `compiles` is
    asked about log2 as many times as there are operators. None if there is no operator that gives a tensor."""
    operators = [
        node
        for node in module.graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor)
    ]
    right, wrong = 0, len(operators)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if compiles(cut(module, operators, middle)[0]):
            right = middle
        else:
            wrong = middle
    return operators[wrong - 1] if operators else None


def cut(module: GraphModule, operators: Sequence[Node], count: int) -> tuple[GraphModule, list[Node]]:
    """`module` up to the first `count` of its `operators`, and those of them that it then gives: all that the rest of
    the graph reads."""
    last = operators[count - 1]
    nodes = list(module.graph.nodes)
    inside = set(nodes[: nodes.index(last) + 1])
    given = [node for node in operators[:count] if any(user not in inside for user in node.users)]
    graph, copied = Graph(), {}
    for node in nodes:
        if node in inside or node.op == "placeholder":
            copied[node] = graph.node_copy(node, lambda one: copied[one])
    graph.output(tuple(copied[node] for node in given))
    part = GraphModule(module, graph)
    part.graph.eliminate_dead_code()
    part.recompile()
    return part, given
