"""MergeDuplicates: what is computed twice from the same values is computed once."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.rewrite import always_the_same
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import come_from


class MergeDuplicates(Pass):
    """Calls of the same operator on the same arguments become the first of them.

    before:  a = relu(linear(x, w));  b = relu(linear(x, w));  add(a, b)
    after:   a = relu(linear(x, w));  add(a, a)

    Operators that draw random numbers, or change what they are given, are called as often as the model calls them. So
    are those that take no tensor (arange, full): two stages that need the same one had better each write it.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        first: dict[Hashable, Node] = {}
        notes = []
        for node in list(module.graph.nodes):
            if node.op not in ("call_function", "get_attr") or _is_factory(node):
                continue
            same = first.setdefault(_key(node), node)
            if same is node or not node.users:
                continue
            if not always_the_same(node):
                reason = f"looks like '{same.name}', but {node.target} draws random numbers or changes its arguments"
                notes.append(self.declined(node.name, reason))
                continue
            come_from(same, same, node)
            node.replace_all_uses_with(same)
            module.graph.erase_node(node)
            if node.op == "call_function":
                notes.append(self.did(node.name, f"is '{same.name}' again"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _is_factory(node: Node) -> bool:
    tensor = isinstance(node.meta.get("val"), Tensor)
    return tensor and node.op == "call_function" and not any(_is_tensor(one) for one in node.all_input_nodes)


def _is_tensor(node: Node) -> bool:
    return not isinstance(node.meta.get("val"), (int, float, bool, torch.SymInt, torch.SymFloat, torch.SymBool))


def _key(node: Node) -> Hashable:
    return (node.op, node.target, _hashable(node.args), _hashable(node.kwargs))


def _hashable(argument: object) -> Hashable:
    if isinstance(argument, (list, tuple)):
        return tuple(_hashable(one) for one in argument)
    if isinstance(argument, dict):
        return tuple((name, _hashable(one)) for name, one in sorted(argument.items()))
    if isinstance(argument, Node):
        return argument
    # With its type and as text: 1 == 1.0 == True and 0.0 == -0.0, and an operator tells them apart.
    return (type(argument), repr(argument))
