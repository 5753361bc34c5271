"""What passes share to write new nodes: each knows its type and shape at once, so that a pass can go on from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from recpile.passes.graph import add_buffer, attribute, editable, lookups
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import come_from


def call(before: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
    """A new node in front of `before`, with the type and shape of its result in `meta["val"]`, and its source lines."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args, kwargs)
    come_from(node, before)
    # On the capture's fake tensors: symbolic sizes are computed, and nothing is allocated.
    node.meta["val"] = target(*map_arg(args, lambda one: one.meta["val"]), **kwargs)
    return node


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of an operator by the names in its schema, defaults included."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    defaults = {one.name: one.default_value for one in schema if one.has_default_value()}
    return defaults | dict(zip((one.name for one in schema), node.args, strict=False)) | node.kwargs


def add_weight(module: GraphModule, before: Node, name: str, value: Tensor) -> Node:
    """Reads `value` as a new weight, whose name begins with `name`, in front of `before`."""
    fqn, count = name, 0
    while hasattr(module, fqn):
        count += 1
        fqn = f"{name}_{count}"
    add_buffer(module, fqn, value)
    with before.graph.inserting_before(before):
        node = before.graph.get_attr(fqn)
    inputs = (one.meta.get("val") for one in before.graph.nodes if one.op == "placeholder")
    node.meta["val"] = next(inputs).fake_mode.from_tensor(value, static_shapes=True)
    return node


def drop_weights(module: GraphModule, fqns: Collection[str]) -> None:
    """Forgets those of the weights that no node reads any more: torch.export would carry them along."""
    module.graph.eliminate_dead_code()
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for fqn in set(fqns) - used:
        owner, _, name = fqn.rpartition(".")
        delattr(module.get_submodule(owner), name)


def constants(module: GraphModule, without: Collection[str] = ()) -> dict[Node, None]:
    """The nodes that no input reaches, in graph order: weights, but those named, and what is computed from them."""
    found: dict[Node, None] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known = node.target not in without and not any(changes_an_argument(user) for user in node.users)
        else:
            known = node.op == "call_function" and always_the_same(node) and found.keys() >= set(node.all_input_nodes)
        if known:
            found[node] = None
    return found


def evaluate(module: GraphModule, node: Node, values: dict[Node, object] | None = None) -> Tensor:
    """What a constant node gives; `values` remembers what was computed on the way."""
    values = {} if values is None else values
    if node.op == "get_attr":
        return attribute(module, str(node.target)).detach()
    if node not in values:
        args, kwargs = map_arg((node.args, node.kwargs), lambda one: evaluate(module, one, values))
        with torch.no_grad():
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
    return values[node]  # type: ignore[return-value]


def always_the_same(node: Node) -> bool:
    """Whether the operator gives the same for the same arguments, and leaves them as they are."""
    random = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags
    return not random and not changes_an_argument(node)


def changes_an_argument(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def without_unread_tables(program: Program) -> Program:
    """`program` without the tables that its lookups no longer read: an edit may leave a lookup that nothing reads."""
    read = {str(table.target) for _, call in lookups(editable(program.graph)) for table in call.tables}
    return replace(program, tables={fqn: table for fqn, table in program.tables.items() if fqn in read})


def weight_names(module: GraphModule) -> set[str]:
    """The names of the weights that the graph reads now: what `drop_weights` may forget after the edits."""
    return {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}


def read_by_others(node: Node, weights: Collection[Node]) -> bool:
    """Whether anything but `node` reads one of these weights, here or through another node of the same name."""
    names = {one.target for one in weights}
    reads = (one for one in node.graph.nodes if one.op == "get_attr" and one.target in names)
    return any(user is not node for one in reads for user in one.users)
