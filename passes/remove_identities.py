"""RemoveIdentities: drops views that give back what they were given."""

from __future__ import annotations

import torch
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.pycompiler.program import Program

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten.reshape.default)


class RemoveIdentities(Pass):
    """A chain of views that ends in the shape it began with is its beginning.

    before:  reshape = reshape(lengths[2, B], [-1]);  view = view(reshape, [2, -1]);  embedding_bags(…, [view], …)
    after:   embedding_bags(…, [lengths], …)

    A KeyedJaggedTensor flattens its lengths and the lookup unflattens them: left in place, the two views would become a
    compiled stage of their own in front of the lookup.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        notes = []
        for node in list(module.graph.nodes):
            if node.target not in _VIEWS or not node.users:
                continue
            origin = _origin(node)
            if origin is node:
                continue
            node.replace_all_uses_with(origin)
            notes.append(self.did(node.name, f"is '{origin.name}' again"))
        if not notes:
            return PassResult(program, changed=False)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _origin(node: Node) -> Node:
    """The earliest node up the chain of views that has the shape of `node`; `node` itself if there is none."""
    origin, at = node, node
    while at.target in _VIEWS and isinstance(at.args[0], Node):
        at = at.args[0]
        if _same_shape(at, node):
            origin = at
    return origin


def _same_shape(a: Node, b: Node) -> bool:
    x, y = a.meta["val"], b.meta["val"]
    # As text: two symbolic sizes are equal if their expressions are, and comparing them otherwise would add a guard.
    return x.dtype == y.dtype and x.is_contiguous() and [str(s) for s in x.shape] == [str(s) for s in y.shape]
