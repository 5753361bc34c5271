"""RemoveNoOps: drops operators that give back what they were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.rewrite import arguments, changes_an_argument
from recpile.pycompiler.program import Program

_aten = torch.ops.aten


class RemoveNoOps(Pass):
    """What gives back its input's values, with the same type, shape and layout in memory, is its input.

    before:  c = clone(x);  e = expand(c, [-1, 8]);  s = slice(e, 0, 0, END);  y = s * 1;  relu(y)
    after:   relu(x)

    A dropout is captured as a clone once the model is in eval mode, so it goes as well, and so do operators that only
    check what capture has established (_assert_tensor_metadata).
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        notes = []
        for node in list(module.graph.nodes):
            if node.target is _aten._assert_tensor_metadata.default:
                module.graph.erase_node(node)
                notes.append(self.did(node.name, "checks what capture has established"))
                continue
            origin = _origin(node)
            if origin is None:
                continue
            if reason := _keeps(node, origin):
                notes.append(self.declined(node.name, reason))
                continue
            node.replace_all_uses_with(origin)
            notes.append(self.did(node.name, f"is '{origin.name}'"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _origin(node: Node) -> Node | None:
    """The argument whose values, type and shape `node` has, if it does so whatever they are."""
    if node.op != "call_function" or node.target not in _GIVES_BACK or not node.users:
        return None
    origin = _GIVES_BACK[node.target](arguments(node))
    if not isinstance(origin, Node) or not isinstance(origin.meta.get("val"), Tensor):
        return None
    a, b = origin.meta["val"], node.meta["val"]
    return origin if a.dtype == b.dtype and _texts(a.shape) == _texts(b.shape) else None


def _keeps(node: Node, origin: Node) -> str:
    """Why `node` must stay although it has its origin's values; empty if it need not."""
    value = node.meta["val"]
    if _texts(origin.meta["val"].stride()) != _texts(value.stride()):
        return f"lies otherwise in memory than '{origin.name}', and a view may follow"
    if origin.op != "call_function" and any(user.op == "output" for user in node.users):
        return f"is an output, and '{origin.name}' is not computed"
    if any(changes_an_argument(user) for user in origin.users):
        return f"'{origin.name}' is changed in place"
    if node.target is _aten.add.Tensor and value.dtype.is_floating_point:
        return "adds 0, which turns -0.0 into 0.0"
    return ""


def _texts(sizes: tuple) -> list[str]:
    # Comparing two symbolic sizes would add a guard; their texts are equal if their expressions are.
    return [str(size) for size in sizes]


Given = dict[str, Any]  # an operator's arguments by name


def _self(given: Given) -> Any:
    return given["self"]


def _only(given: Given) -> Any:
    """For a concatenation of one."""
    return given["tensors"][0] if len(given["tensors"]) == 1 else None


def _whole_slice(given: Given) -> Any:
    """A slice from 0; what ends before the end has another shape."""
    return given["self"] if given["start"] in (None, 0) and given["step"] == 1 else None


def _identity_permutation(given: Given) -> Any:
    dims = [dim % len(given["dims"]) for dim in given["dims"]]
    return given["self"] if dims == sorted(dims) else None


def _with(number: int) -> Callable[[Given], Any]:
    """For arithmetic: the tensor, if the other operand is the number that changes nothing."""
    return lambda given: given["self"] if type(given["other"]) in (int, float) and given["other"] == number else None


_GIVES_BACK: dict[object, Callable[[Given], Any]] = {
    _aten.alias.default: _self,
    _aten.clone.default: _self,
    _aten.contiguous.default: _self,
    _aten.detach.default: _self,
    _aten.lift_fresh_copy.default: _self,
    _aten.to.dtype: _self,
    _aten._to_copy.default: _self,
    _aten.type_as.default: _self,
    _aten.expand.default: _self,
    _aten.slice.Tensor: _whole_slice,
    _aten.cat.default: _only,
    _aten.concat.default: _only,
    _aten.hstack.default: _only,
    _aten.permute.default: _identity_permutation,
    _aten.mul.Tensor: _with(1),
    _aten.div.Tensor: _with(1),
    _aten.add.Tensor: _with(0),
    _aten.sub.Tensor: _with(0),
}
