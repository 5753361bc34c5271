"""A linear layer and a turning of the axes in front of it change places: the layer works on the last axis alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import Node

from recpile.passes.rewrite import call

aten = torch.ops.aten


def layer_first(node: Node, of_rows: Callable[[Node], bool]) -> list[Node]:
    """linear(transpose(x, 0, 1)) -> transpose(linear(x), 0, 1): the two new nodes, in place of `node`.

    So nn.MultiheadAttention has its projections: with the batch second, where nothing sees the rows of a request any
    more. Nothing is done, and [] given, if `x` is not `of_rows` or its last axis is turned too.
    """
    turned = node.args[0] if node.target is aten.linear.default else None
    if not isinstance(turned, Node) or turned.target not in (aten.transpose.int, aten.permute.default):
        return []
    source, *axes = turned.args
    assert isinstance(source, Node)
    if not of_rows(source) or of_rows(turned) or not _keeps_the_last(turned):
        return []
    layer = call(node, node.target, source, *node.args[1:], **node.kwargs)
    made = call(node, turned.target, layer, *axes)
    node.replace_all_uses_with(made)
    return [layer, made]


def _keeps_the_last(turned: Node) -> bool:
    rank = turned.meta["val"].ndim
    _, *axes = turned.args
    if turned.target is aten.permute.default:
        return list(axes[0])[-1] % rank == rank - 1  # type: ignore[arg-type]
    return all(axis % rank != rank - 1 for axis in axes)  # type: ignore[operator]
