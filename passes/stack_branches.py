"""StackBranches: branches of equal shape over one input, such as experts or the heads of tasks, run as one."""

from __future__ import annotations

import operator
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import DENSE_DTYPES
from recpile.passes.graph import editable, recaptured
from recpile.passes.linears import LINEAR, Linear, last_layers, linear_of
from recpile.passes.rewrite import add_weight, call, drop_weights, weight_names
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import come_from

_aten = torch.ops.aten
# Of fp32 at 1,024 rows: 2 MiB, the second-level cache of a server's core.
_FP32_COLUMNS = 512
_POINTWISE = (
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.tanh.default,
    _aten.gelu.default,
    _aten.silu.default,
    _aten.leaky_relu.default,
    _aten.elu.default,
    _aten.hardtanh.default,
    _aten.softplus.default,
    _aten.exp.default,
)


class StackBranches(Pass):
    """Layers that read the same input become one wider layer; the layers behind each of them, one batched product.

    before:  a = linear(relu(linear(x, w0)), v0);  b = linear(relu(linear(x, w1)), v1)
    after:   h = relu(linear(x, cat([w0, w1])));  a, b = unbind(bmm(copy(view(h, [B, 2, H])^T), stack([v0^T, v1^T])))

    Branches are stacked as far as they go the same way: linear layers of one shape, each with one reader, and
    activations between. In fp32 no more of them together than a core's cache holds columns of at 1,024 rows
    (docs/fusions.md): eight branches of 128 columns become two stacks of four.
    """

    def __init__(self, dense_dtype: str = "fp32") -> None:
        if dense_dtype not in DENSE_DTYPES:
            raise ValueError(f"dense dtype: got '{dense_dtype}'; use one of {', '.join(DENSE_DTYPES)}")
        self.columns = _FP32_COLUMNS if dense_dtype == "fp32" else None

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        weights = weight_names(module)
        notes = []
        for group in _groups(module):
            names = ", ".join(branch.nodes[0].name for branch in group)
            stacks = _stacks(group, self.columns)
            if reason := _against(group, stacks):
                notes.append(self.declined(names, reason))
                continue
            for stack in stacks:
                _stack(module, stack)
            made = "one" if len(stacks) == 1 else f"{len(stacks)}"
            notes.append(self.did(names, f"{len(group)} branches of {len(group[0].layers)} layers become {made}"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        drop_weights(module, weights)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


@dataclass(frozen=True)
class _Branch:
    """Nodes that follow each other, a linear layer first; `kind` is what two branches must have in common."""

    nodes: list[Node]
    layers: list[Linear]
    kind: Hashable


def _groups(module: GraphModule) -> list[list[_Branch]]:
    layers = {node: layer for node in module.graph.nodes if (layer := linear_of(module, node))}
    last = last_layers(module.graph.output_node().all_input_nodes)
    groups: dict[Hashable, list[_Branch]] = {}
    inside: set[Node] = set()
    for node, layer in layers.items():
        if node not in inside and layer.given.meta["val"].ndim == 2:
            branch = _branch(node, layers, last)
            inside.update(branch.nodes)
            groups.setdefault((layer.given, branch.kind), []).append(branch)
    return [group for group in groups.values() if len(group) > 1]


def _branch(first: Node, layers: dict[Node, Linear], last: set[Node]) -> _Branch:
    def kind(layer: Linear) -> Hashable:
        return (layer.weight.shape, layer.weight.dtype, layer.bias is None, layer.owned, layer.node in last)

    nodes, kinds = [first], [kind(layers[first])]
    while len(nodes[-1].users) == 1:
        (user,) = nodes[-1].users
        if user in layers and layers[user].given is nodes[-1]:
            kinds.append(kind(layers[user]))
        elif user.target in _POINTWISE and user.all_input_nodes == [nodes[-1]]:
            kinds.append((user.target, repr(user.args[1:]), repr(user.kwargs)))
        else:
            break
        nodes.append(user)
    return _Branch(nodes, [layers[node] for node in nodes if node in layers], tuple(kinds))


def _stacks(group: list[_Branch], columns: int | None) -> list[list[_Branch]]:
    """The branches in as few stacks as have no more than so many columns each, about as large as each other."""
    together = len(group) if columns is None else max(1, columns // group[0].layers[0].outputs)
    count = -(-len(group) // together)
    ends = [len(group) * i // count for i in range(count + 1)]
    return [group[start:end] for start, end in pairwise(ends) if end - start > 1]


def _against(group: list[_Branch], stacks: list[list[_Branch]]) -> str:
    if not all(layer.owned for branch in group for layer in branch.layers):
        return "have weights that other layers read too"
    if not stacks:
        width = group[0].layers[0].outputs
        return f"are {width} columns wide each: two in fp32 would leave the cache, and large batches cost more"
    return ""


def _stack(module: GraphModule, group: list[_Branch]) -> None:
    first = group[0].nodes[0]  # everything goes in front of it: the branches read nothing but their common input

    def weight(name: str, value: Tensor) -> Node:
        return add_weight(module, first, f"{first.name}_{name}", value)

    def put(at: int, target: Any, *args: Any, **kwargs: Any) -> Node:
        """A node that stands for number `at` of every branch's nodes."""
        node = call(first, target, *args, **kwargs)
        come_from(node, *(branch.nodes[at] for branch in group))
        return node

    def biases(layers: list[Linear]) -> list[Tensor]:
        return [layer.bias for layer in layers if layer.bias is not None]

    wide = [branch.layers[0] for branch in group]
    args = [torch.cat([layer.weight for layer in wide]), *([torch.cat(biases(wide))] if biases(wide) else [])]
    names = ("weight", "bias")
    now = put(0, LINEAR, wide[0].given, *map(weight, names, args))  # [B, branches * width]
    depth = 1
    for i, node in enumerate(group[0].nodes[1:], 1):
        if node.target is not LINEAR:
            now = put(i, node.target, now, *node.args[1:], **node.kwargs)
            continue
        layers = [branch.layers[depth] for branch in group]
        depth += 1
        if now.meta["val"].ndim == 2:
            rows = put(i, _aten.view.default, now, [-1, len(group), layers[0].inputs])
            # Copied as the activation in front of it is written: a product of strided matrices costs more.
            now = put(i, _aten.transpose.int, rows, 0, 1)  # [branches, B, width]
            now = put(i, _aten.clone.default, now, memory_format=torch.contiguous_format)
        now = put(i, _aten.bmm.default, now, weight("stacked", torch.stack([one.weight.t() for one in layers])))
        if biases(layers):
            now = put(i, _aten.add.Tensor, now, weight("biases", torch.stack(biases(layers)).unsqueeze(1)))
    if now.meta["val"].ndim == 2:
        parts = put(-1, _aten.split.Tensor, now, wide[0].outputs, 1)
    else:
        parts = put(-1, _aten.unbind.int, now, 0)
    for i, branch in enumerate(group):
        part = call(first, operator.getitem, parts, i)
        come_from(part, branch.nodes[-1])
        branch.nodes[-1].replace_all_uses_with(part)
    for branch in group:
        for node in reversed(branch.nodes):
            module.graph.erase_node(node)
