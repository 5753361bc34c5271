"""Where the ids of a lookup come from: columns of a wider input that the model cut out, or bags of one length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from recpile.pycompiler.source_lines import come_from

aten = torch.ops.aten

_RESHAPES = (
    aten.view.default,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten._unsafe_view.default,
    aten.contiguous.default,
    aten.clone.default,
)
_CASTS = (aten._to_copy.default, aten.to.dtype)
# A slice this wide is looked up column by column, in one call with other columns; a wider one, such as a history, id by
# id in a lookup of its own shape.
_WIDEST_CUT = 8


@dataclass(frozen=True)
class IdSource:
    """Columns `first` .. + `size` of `base`, which is seen as [N, columns]; `weights`, if any, are shaped as `base`."""

    base: Node
    columns: int
    first: int
    size: int
    weights: Node | None = None


class IdSources:
    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self._whole_numbers: dict[tuple[Node, torch.dtype], Node] = {}

    def cut(self, ids: Node) -> IdSource | None:
        """`ids` as columns of a [B, C] tensor that they are cut out of; None if they are not."""
        dtype: torch.dtype | None = None
        at = ids
        while True:
            if at.target in _CASTS:
                dtype = dtype or at.meta["val"].dtype
            elif not (at.target in _RESHAPES and _one_column(at) and _one_column(_of(at))) and not _is_all(at):
                break
            at = _of(at)
        columns = _columns(at)
        if columns is None or columns.size > _WIDEST_CUT:
            return None
        base = columns.base
        if base.target in _CASTS and dtype is None:
            return columns
        if dtype is None or dtype == base.meta["val"].dtype:
            return columns
        return IdSource(self._cast(base, dtype), columns.columns, columns.first, columns.size)

    def bags(self, ids: Node, offsets: Node, weights: Node | None) -> IdSource | None:
        """The 2-D ids of nn.EmbeddingBag, which flattens them and counts their offsets; None for other offsets."""
        if offsets.target is not aten.arange.start_step or ids.target not in _RESHAPES:
            return None
        square = _of(ids)
        value = square.meta["val"]
        length = value.shape[-1]
        if value.ndim != 2 or isinstance(length, torch.SymInt) or list(offsets.args)[::2] != [0, length]:
            return None
        if weights is None:
            return self.cut(square) or IdSource(square, length, 0, length)
        return IdSource(square, length, 0, length, _of(weights) if weights.target in _RESHAPES else weights)

    def _cast(self, base: Node, dtype: torch.dtype) -> Node:
        """All of `base` as whole numbers, once: the columns that are no ids are not looked up."""
        if (base, dtype) not in self._whole_numbers:
            with self.module.graph.inserting_after(base):
                cast = self.module.graph.call_function(aten.to.dtype, (base, dtype))
            cast.meta["val"] = base.meta["val"].to(dtype)
            come_from(cast, base)
            self._whole_numbers[base, dtype] = cast
        return self._whole_numbers[base, dtype]


def _of(node: Node) -> Node:
    """What a view, a cast or a slice is of."""
    one = node.args[0]
    assert isinstance(one, Node)
    return one


def _one_column(node: Node) -> bool:
    """A batch of single ids, [B] or [B, 1], on its own axis whatever it is reshaped to."""
    sizes = node.meta["val"].shape
    return len(sizes) > 0 and all(not isinstance(size, torch.SymInt) and size == 1 for size in sizes[1:])


def _is_all(node: Node) -> bool:
    """x[:] along the batch."""
    return node.target is aten.slice.Tensor and _arguments(node) == (0, 0, None, 1)


def _arguments(node: Node) -> tuple:
    """dim, start, end (None for "to the end"), step of a slice."""
    _, dim, start, end, step = (*node.args, *[0, None, None, 1][len(node.args) - 1 :])
    return dim, start or 0, None if end is None or (isinstance(end, int) and end >= 1 << 60) else end, step


def _columns(node: Node) -> IdSource | None:
    if node.target not in (aten.select.int, aten.slice.Tensor):
        return None
    base = _of(node)
    while _is_all(base):
        base = _of(base)
    value = base.meta["val"]
    if value.ndim != 2 or isinstance(value.shape[1], torch.SymInt) or not isinstance(value.shape[0], torch.SymInt):
        return None
    width = int(value.shape[1])
    if node.target is aten.select.int:
        _, dim, index = node.args
        return IdSource(base, width, index % width, 1) if dim in (1, -1) and isinstance(index, int) else None
    dim, start, end, step = _arguments(node)
    if dim not in (1, -1) or step != 1 or not isinstance(start, int) or not isinstance(end, (int, type(None))):
        return None
    first, last, _ = slice(start, end).indices(width)
    return IdSource(base, width, first, last - first) if last > first else None


def lengths_of(module: GraphModule, before: Node, offsets: Node, last: bool, ids: Node) -> Node:
    """The lengths [B] behind the offsets of an nn.EmbeddingBag; computed in the graph if nothing there gives them.

    `last`: offsets have the end of the last bag too (include_last_offset).
    """
    known = _summed(offsets) if last else _summed_but_last(offsets)
    if known is not None:
        return known

    def call(target: Callable, args: tuple) -> Node:
        made = module.graph.call_function(target, args)
        come_from(made, before)
        return made

    with module.graph.inserting_before(before):
        if not last:
            total = call(aten.new_full.default, (offsets, [1], call(aten.sym_size.int, (ids, 0))))
            offsets = call(aten.cat.default, ([offsets, total],))
        starts = call(aten.slice.Tensor, (offsets, 0, 0, -1))
        return call(aten.sub.Tensor, (call(aten.slice.Tensor, (offsets, 0, 1)), starts))


def _summed(offsets: Node) -> Node | None:
    """lengths, if `offsets` is their cumulative sum with a zero in front."""
    if offsets.target not in (aten.pad.default, aten.constant_pad_nd.default) or offsets.args[1] != [1, 0]:
        return None
    return _of_cumsum(_of(offsets))


def _summed_but_last(offsets: Node) -> Node | None:
    """lengths, if `offsets` is their cumulative sum with a zero in front and without the end."""
    if offsets.target is aten.slice.Tensor and _arguments(offsets) == (0, 0, -1, 1):
        return _summed(_of(offsets))
    if offsets.target is aten.sub.Tensor:
        lengths = _of_cumsum(_of(offsets))
        return lengths if lengths is offsets.args[1] else None
    return None


def _of_cumsum(total: Node) -> Node | None:
    if total.target is not aten.cumsum.default:
        return None
    lengths = _of(total)
    return lengths if lengths.meta["val"].ndim == 1 else None
