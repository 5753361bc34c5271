"""What a compiled stage costs: FLOPs and bytes, split into what every candidate adds and what a batch costs anyway.

FLOPs of matrix products, convolutions and attention are torch.utils.flop_counter's formulas (two a multiply-add); of
what has no formula, one for each element that a pointwise operator gives or a reduction reads. Only floating-point
work and int8 layers count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from recpile.pycompiler import int8_operators  # noqa: F401  # their formulas
from recpile.pycompiler.inspection.axes import Axes, user_inputs

_aten = torch.ops.aten
# The attention kernel of CPUs, which torch's own table lacks; its formula is that of the others.
_FORMULAS = {_aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop}
# Of their first input these read as many elements as they give, not all.
_READ_ROWS = (_aten.embedding.default, _aten.index_select.default, _aten.gather.default, _aten.index.Tensor)
# Matrix products of int8_operators.py, which may give int32 or codes.
_INT8 = (torch.ops.aten._int_mm.default, torch.ops.onednn.qlinear_pointwise.default)
# Pointwise by their tag, and no arithmetic.
_COPIES = (_aten.clone.default, _aten._to_copy.default, _aten.copy.default)
_AT = 64

# A quantity as a function of the batch: "fixed", and how much one more on each axis adds ("candidate", "<input>.nnz").
Linear = Mapping[str, float]


@dataclass(frozen=True)
class Cost:
    """`flops`; `bytes` moved at least (inputs and weights read once, outputs written, all between stays in the cache);
    `operator_bytes` if each operator reads its inputs and writes its output, as eager PyTorch does."""

    flops: Linear
    bytes: Linear
    operator_bytes: Linear


def stage_cost(graph: ExportedProgram, axes: Axes) -> Cost:
    """The whole graph's."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    costs = [node_cost(node, axes) for node in nodes]
    outputs = graph.graph.output_node().all_input_nodes
    inputs = user_inputs(graph)
    weights = {
        one
        for node in nodes
        for i, one in enumerate(node.all_input_nodes)
        if one.op == "placeholder" and one not in inputs and not (i == 0 and node.target in _READ_ROWS)
    }
    moved = linear(axes, lambda of: sum(_bytes(one, axes, of) for one in (*inputs, *weights, *outputs)))
    return Cost(
        flops=total([cost.flops for cost in costs]),
        bytes=moved,
        operator_bytes=total([cost.operator_bytes for cost in costs]),
    )


def node_cost(node: Node, axes: Axes) -> Cost:
    """One operator's, alone."""
    moved = linear(axes, lambda of: _moved(node, axes, of))
    return Cost(flops=linear(axes, lambda of: _flops(node, axes, of)), bytes=moved, operator_bytes=moved)


def linear(axes: Axes, of: Callable[[Mapping[str, int]], float]) -> Linear:
    """The line through what `of` gives at two sizes of each axis; terms that are zero are left out."""
    at = dict.fromkeys(axes.names, _AT)
    start = of(at)
    slopes = {name: (of({**at, name: 2 * _AT}) - start) / _AT for name in axes.names}
    line = {"fixed": start - _AT * sum(slopes.values()), **slopes}
    return {name: int(value) if float(value).is_integer() else round(value, 3) for name, value in line.items() if value}


def total(parts: list[Linear]) -> Linear:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def _flops(node: Node, axes: Axes, of: Mapping[str, int]) -> float:
    given = _tensors(node)
    if node.target in _COPIES:
        return 0
    if node.target not in _INT8 and not any(one.is_floating_point() for one in given):
        return 0
    tags = getattr(node.target, "tags", ())
    if torch.Tag.pointwise in tags:
        return max(axes.elements(one, of) for one in given)
    if torch.Tag.reduction in tags:
        return max((axes.elements(one, of) for read in node.all_input_nodes for one in _tensors(read)), default=0)
    if not isinstance(node.target, torch._ops.OpOverload) or _is_view(node):
        return 0
    with FakeTensorMode(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        args, kwargs = (map_arg(one, lambda n: _concrete(n.meta["val"], axes, of)) for one in (node.args, node.kwargs))
        try:
            node.target(*args, **kwargs)
        except Exception:  # an operator whose result's size depends on the data: none of those has a formula
            return 0
    return counter.get_total_flops()


def _moved(node: Node, axes: Axes, of: Mapping[str, int]) -> int:
    if node.op != "call_function" or _is_view(node) or not isinstance(node.target, torch._ops.OpOverload):
        return 0
    given = _bytes(node, axes, of)
    read = [
        given if i == 0 and node.target in _READ_ROWS else _bytes(one, axes, of)
        for i, one in enumerate(node.all_input_nodes)
    ]
    return given + sum(read)


def _is_view(node: Node) -> bool:
    """The result is the input's memory; a conversion to the same type is one, to another type is not."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    aliases = any(one.alias_info is not None for one in node.target._schema.returns)
    return aliases and {one.dtype for one in _tensors(node)} == {one.dtype for one in _tensors(node.all_input_nodes[0])}


def _bytes(node: Node, axes: Axes, of: Mapping[str, int]) -> int:
    return sum(axes.elements(one, of) * one.element_size() for one in _tensors(node))


def _tensors(node: Node) -> list[Tensor]:
    return [one for one in tree_leaves(node.meta.get("val")) if isinstance(one, Tensor)]


def _concrete(value: Any, axes: Axes, of: Mapping[str, int]) -> Any:
    def sized(one: Tensor) -> Tensor:
        return torch.empty([axes.size(size, of) for size in one.shape], dtype=one.dtype)

    value = tree_map_only(Tensor, sized, value)
    return tree_map_only(torch.SymInt, lambda one: axes.size(one, of), value)
