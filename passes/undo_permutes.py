"""UndoPermutes: drops chains of transposes and the like that put every axis back where it was."""

from __future__ import annotations

import torch
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.rewrite import arguments
from recpile.pycompiler.program import Program

_aten = torch.ops.aten


class UndoPermutes(Pass):
    """A chain of views that move axes, or add and drop axes of one, is its beginning if it leaves the axes in place.

    before:  u = unsqueeze(x, 2);  p = permute(u, [0, 2, 1]);  t = transpose(p, 1, 2);  s = squeeze(t, 2);  linear(s, w)
    after:   linear(x, w)

    What lies in between stays if something else reads it. Such views cost nothing to run, but passes after this one
    look for operators that follow each other.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        notes = []
        for node in list(module.graph.nodes):
            if not node.users or (origin := _origin(node)) is None:
                continue
            if origin.op != "call_function" and any(user.op == "output" for user in node.users):
                notes.append(self.declined(node.name, f"is an output, and '{origin.name}' is not computed"))
                continue
            node.replace_all_uses_with(origin)
            notes.append(self.did(node.name, f"is '{origin.name}' again"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _origin(node: Node) -> Node | None:
    """The earliest node up the chain whose axes `node` has, in their order."""
    origin, at = None, node
    axes: list[int | None] = list(range(_rank(node))) if _moved(node) is not None else []
    # axes[i]: which axis of `at` is axis i of `node`; None for an axis of one that was added on the way.
    while (moved := _moved(at)) is not None:
        axes = [None if axis is None else moved[axis] for axis in axes]
        at = at.all_input_nodes[0]
        if axes == list(range(_rank(at))):
            origin = at
    return origin


def _moved(node: Node) -> list[int | None] | None:
    """For each axis of what `node` gives, the axis of its input; None for another kind of operator."""
    if node.op != "call_function" or node.target not in _VIEWS:
        return None
    given = arguments(node)
    rank = _rank(given["self"])
    axes: list[int | None] = list(range(rank))
    if node.target is _aten.permute.default:
        return [dim % rank for dim in given["dims"]]
    if node.target is _aten.unsqueeze.default:
        axes.insert(given["dim"] % (rank + 1), None)
    elif node.target is _aten.squeeze.dim:
        if _rank(node) < rank:
            del axes[given["dim"] % rank]
    elif rank >= 2:  # a transpose; t of a vector is the vector
        a, b = given.get("dim0", 0) % rank, given.get("dim1", 1) % rank
        axes[a], axes[b] = axes[b], axes[a]
    return axes


_VIEWS = (
    _aten.permute.default,
    _aten.transpose.int,
    _aten.t.default,
    _aten.unsqueeze.default,
    _aten.squeeze.dim,
)


def _rank(node: Node) -> int:
    return node.meta["val"].ndim
