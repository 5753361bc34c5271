"""Which operators work row by row: what they give for a request does not depend on the other requests.

A value "of rows" has a first axis of m rows a request (m is 1 but for flattened ones), and an operator is row-wise if
it keeps each request's rows apart. What is not known to be row-wise counts as not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import sympy
import torch
from torch.fx import Node

aten = torch.ops.aten

_SAME = (
    aten.to.dtype,
    aten._to_copy.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.detach.default,
    aten.dropout.default,
)
RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints)
# Over the axes in argument 1; without one, over all.
_OVER_AXES = (
    aten.softmax.int,
    aten._softmax.default,
    aten.log_softmax.int,
    aten._log_softmax.default,
    aten.cumsum.default,
    aten.sum.dim_IntList,
    aten.mean.dim,
    aten.amax.default,
    aten.amin.default,
    aten.max.dim,
    aten.min.dim,
    aten.any.dim,
    aten.var.correction,
    aten.linalg_vector_norm.default,
)
_ALONG_AXIS = (
    aten.slice.Tensor,
    aten.select.int,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
)
_AXIS_ARGUMENT = {aten.split.Tensor: 2, aten.split_with_sizes.default: 2, aten.chunk.default: 2}
Rows = Callable[[object], bool]  # whether an argument is a value of rows


def is_row_wise(node: Node, of_rows: Rows) -> bool:
    """Whether `node`, whose other tensors are weights or constants, gives rows for rows."""
    target, args = node.target, node.args
    if target is operator.getitem:
        return of_rows(args[0])
    if target in _SAME:
        return True
    if isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags:
        return _lines_up(node, of_rows)
    if target is aten.linear.default:
        return of_rows(args[0]) and not any(of_rows(one) for one in args[1:]) and _rank(args[0]) > 1
    if target in (aten.mm.default, aten.matmul.default, aten.bmm.default):
        return _multiplies_by_row(args[0], args[1], of_rows)
    if target is aten.layer_norm.default:
        return of_rows(args[0]) and len(_list(args[1])) < _rank(args[0])
    if target is aten.scaled_dot_product_attention.default:
        return all(of_rows(one) for one in args[:3])
    if target in _OVER_AXES:
        axes = _list(args[1]) if len(args) > 1 else []
        return bool(axes) and all(_axis(axis, args[0]) != 0 for axis in axes)
    if target in _ALONG_AXIS:
        at = _AXIS_ARGUMENT.get(target, 1)
        axes = _list(args[at]) if len(args) > at else [0]
        return all(_axis(axis, args[0]) != 0 for axis in axes)
    if target is aten.cat.default:
        parts = _list(args[0])
        return all(of_rows(one) for one in parts) and _axis(args[1] if len(args) > 1 else 0, parts[0]) != 0
    if target is aten.stack.default:
        parts = _list(args[0])
        axis = int(args[1]) if len(args) > 1 else 0  # type: ignore[arg-type]
        return all(of_rows(one) for one in parts) and axis % (_rank(parts[0]) + 1) != 0
    if target is aten.unsqueeze.default:
        return int(args[1]) % (_rank(args[0]) + 1) != 0  # type: ignore[arg-type]
    if target in (aten.transpose.int, aten.permute.default):
        axes = _list(args[1]) if target is aten.permute.default else list(args[1:])
        kept = _axis(axes[0], args[0]) == 0 if target is aten.permute.default else True
        return kept and (target is aten.permute.default or all(_axis(axis, args[0]) != 0 for axis in axes))
    if target is aten.expand.default:
        return _rank(args[0]) == len(_list(args[1]))
    if target in RESHAPES:
        return True  # whether rows stay together is for the caller to see from the sizes
    if target is aten.embedding.default:
        return not of_rows(args[0])
    return False


def _lines_up(node: Node, of_rows: Rows) -> bool:
    """A pointwise operator: what has rows has them first, and what has none is the same for all rows."""
    rank = _rank(node)
    for one in node.all_input_nodes:
        value = one.meta["val"]
        if not isinstance(value, torch.Tensor):
            continue
        if of_rows(one):
            if value.ndim != rank:
                return False
        elif value.ndim == rank and value.shape[0] != 1:
            return False
    return True


def _multiplies_by_row(a: object, b: object, of_rows: Rows) -> bool:
    if of_rows(a) and of_rows(b):
        return _rank(a) > 2 and _rank(b) == _rank(a)
    if of_rows(a):
        return _rank(a) > 1 and _rank(b) < 3
    return of_rows(b) and _rank(b) > 2 and _rank(a) < 3


def _rank(node: object) -> int:
    assert isinstance(node, Node)
    return node.meta["val"].ndim


def _axis(axis: object, of: object) -> int:
    assert isinstance(axis, int)
    return axis % max(1, _rank(of))


def _list(argument: object) -> list:
    return list(argument) if isinstance(argument, (list, tuple)) else [argument]


def rows_a_request(node: Node, batch: sympy.Expr) -> int | None:
    """How many rows a request's candidate has on the first axis of `node`, of `batch` candidates in all; None if they
    are not a whole number."""
    value = node.meta["val"]
    value = value[0] if isinstance(value, (list, tuple)) else value
    if not value.ndim or any(isinstance(size, torch.SymInt) for size in value.shape[1:]):
        return None
    size = value.shape[0]
    times = size.node.expr / batch if isinstance(size, torch.SymInt) else None
    return int(times) if times is not None and times.is_Integer else None


def unshaped(node: Node) -> Node:
    """What a reshaped value is made of."""
    while node.target in RESHAPES and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
