"""SplitRequestColumns: a layer over columns of the request and of the candidate computes the request's once."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import DENSE_DTYPES
from recpile.passes.graph import aten, editable, recaptured
from recpile.passes.linears import LINEAR, Linear, linear_of
from recpile.passes.rewrite import add_weight, arguments, call, drop_weights, weight_names
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST

# Columns of the request that a layer needs at least: below, repeating and adding its outputs costs what it saves.
_WORTH = 16
# FLOPs that take as long as one more layer and the addition: what a request must save (docs/fusions.md).
_COST = {"fp32": 500_000, "bf16": 40_000_000}
_REPEAT = aten.index_select.default


class SplitRequestColumns(Pass):
    """Cuts a linear layer over concatenated columns in two, and repeats the request's half behind it.

    before:  linear(cat([index_select(user[R, 64], 0, map), item[B, 32]], 1), W, b)
    after:   linear(item, W[:, 64:]) + index_select(linear(user, W[:, :64], b), 0, map)

    The last step down of the request side: HoistRequestSide stops where candidates join in, and in most rankers that is
    the first layer, often the widest. Declined where a request of as many candidates as the schema says would save less
    than one more layer costs.
    """

    def __init__(self, dense_dtype: str = "fp32") -> None:
        if dense_dtype not in DENSE_DTYPES:
            raise ValueError(f"dense dtype: got '{dense_dtype}'; use one of {', '.join(DENSE_DTYPES)}")
        self.cost = _COST["fp32" if dense_dtype == "fp32" else "bf16"]

    def run(self, program: Program) -> PassResult:
        if not program.schema.has_requests:
            return PassResult(program.with_notes(self.declined("layers", "no input is on the request axis")), False)
        module = editable(program.graph)
        weights = weight_names(module)
        map_ = _map(module, program)
        notes, changed = [], False
        for node in list(module.graph.nodes):
            layer = linear_of(module, node)
            parts = _parts(layer, map_) if layer else []
            of_request = sum(_columns(one) for one in parts if _is_repeated(one, map_))
            if layer is None or not of_request:
                continue
            if of_request < _WORTH:
                reason = f"{of_request} of its columns are the request's: splitting it would not be less work"
                notes.append(self.declined(node.name, reason))
                continue
            candidates = program.schema.candidates
            saved = 2 * of_request * layer.outputs * (candidates - 1)
            share = f"{of_request} of {layer.inputs} columns once a request"
            what = f"{share}: at {candidates} candidates {saved:,} FLOPs less"
            if saved < self.cost:
                reason = f"{what}, and one more layer takes as long as {self.cost:,}"
                notes.append(self.declined(node.name, reason))
                continue
            _split(module, layer, parts, map_)
            notes.append(self.did(node.name, what))
            changed = True
        if not changed:
            return PassResult(program.with_notes(*notes), changed=False)
        drop_weights(module, weights)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _map(module: GraphModule, program: Program) -> Node:
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    specs = program.schema.graph_tensors()
    pairs = zip(placeholders, specs, strict=True)
    return next(node for node, spec in pairs if spec.name == CANDIDATE_TO_REQUEST)


def _parts(layer: Linear, map_: Node) -> list[Node]:
    """What a layer's input is concatenated from, along its columns, if some of it is a candidate's own."""
    cat = layer.given
    if cat.target is not aten.cat.default or cat.meta["val"].dim() != 2:
        return []
    given = arguments(cat)
    parts = list(given["tensors"])
    own = any(not _is_repeated(one, map_) for one in parts)
    return parts if given["dim"] in (1, -1) and own else []


def _is_repeated(node: Node, map_: Node) -> bool:
    if node.target is not _REPEAT:
        return False
    _, axis, rows = node.args
    return axis in (0,) and rows is map_


def _columns(node: Node) -> int:
    return int(node.meta["val"].shape[1])


def _split(module: GraphModule, layer: Linear, parts: list[Node], map_: Node) -> None:
    node = layer.node
    of_request, of_candidate, halves = [], [], ([], [])
    start = 0
    for one in parts:
        columns = layer.weight[:, start : start + _columns(one)]
        start += _columns(one)
        if _is_repeated(one, map_):
            of_request.append(one.args[0])
            halves[0].append(columns)
        else:
            of_candidate.append(one)
            halves[1].append(columns)

    def half(inputs: list, columns: list, name: str, bias: bool) -> Node:
        given = inputs[0] if len(inputs) == 1 else call(node, aten.cat.default, inputs, 1)
        whole = columns[0].contiguous() if len(columns) == 1 else torch.cat(columns, dim=1)
        weight = add_weight(module, node, f"{node.name}_{name}_weight", whole)
        values = (add_weight(module, node, f"{node.name}_bias", layer.bias),) if bias and layer.bias is not None else ()
        return call(node, LINEAR, given, weight, *values)

    request = half(of_request, halves[0], "request", bias=True)
    candidate = half(of_candidate, halves[1], "candidate", bias=False)
    repeated = call(node, _REPEAT, request, 0, map_)
    node.replace_all_uses_with(call(node, aten.add.Tensor, candidate, repeated))
    module.graph.erase_node(node)
