"""JoinSlices: columns that are cut out of a tensor and put side by side again are read from it in one piece."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.rewrite import arguments, call, without_unread_tables
from recpile.pycompiler.program import Note, Program

_aten = torch.ops.aten
_CATS = (_aten.cat.default, _aten.concat.default, _aten.concatenate.default)
_SPLITS = (_aten.split.Tensor, _aten.split_with_sizes.default, _aten.chunk.default)


class JoinSlices(Pass):
    """Neighbouring slices in a concatenation become one slice, or the tensor itself; nested concatenations become one.

    before:  ab = embedding_bags(…);  a = ab[:, 0:8];  b = ab[:, 8:16];  cat([dense, cat([a, b], 1)], 1)
    after:   ab = embedding_bags(…);  cat([dense, ab], 1)

    Models cut a lookup's result by feature, and most then concatenate the features again in the same order. A slice of
    a slice, or of one part of a concatenation, is cut straight out of where it comes from.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        notes: list[Note] = []
        for node in list(module.graph.nodes):
            if node.op != "call_function" or not node.users:
                continue
            if node.target in _CATS:
                notes.extend(self._join(node))
                continue
            span = _cut(node)
            if span is not None and (origin := _origin(span)) != span:
                node.replace_all_uses_with(_read(node, origin))
                notes.append(self.did(node.name, f"is {origin}"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        program = without_unread_tables(recaptured(program, module))
        return PassResult(program.with_notes(*notes), changed=True)

    def _join(self, node: Node) -> Iterator[Note]:
        """Rewrites one concatenation."""
        given, dim = _concatenated(node)
        parts: list[Node] = []
        for one in given:
            nested, axis = _concatenated(one) if one.target in _CATS else ([one], dim)
            if axis == dim and len(one.users) > 1 and nested != [one]:
                yield self.declined(one.name, f"is needed as it is, so '{node.name}' copies it")
            parts.extend(nested if axis == dim and len(one.users) == 1 else [one])
        joined: list[_Span | Node] = []
        for part in parts:
            span, last = _cut(part), joined[-1] if joined else None
            if span is None or span.dim != dim:
                joined.append(part)
            elif isinstance(last, _Span) and (last.source, last.end) == (span.source, span.start):
                joined[-1] = _Span(last.source, dim, last.start, span.end)
            else:
                joined.append(span)
        if len(parts) == len(given) == len(joined):
            return
        pieces = [_read(node, one) if isinstance(one, _Span) else one for one in joined]
        node.replace_all_uses_with(call(node, _aten.cat.default, pieces, dim) if len(pieces) > 1 else pieces[0])
        yield self.did(node.name, f"{len(given)} parts are {len(pieces)}")


@dataclass(frozen=True)
class _Span:
    """source[start:end] along `dim`."""

    source: Node
    dim: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.start}:{self.end} of '{self.source.name}'"


def _concatenated(cat: Node) -> tuple[list[Node], int]:
    """The parts of a concatenation, and the axis."""
    given = arguments(cat)
    return list(given["tensors"]), given["dim"] % cat.meta["val"].ndim


def _cut(node: Node) -> _Span | None:
    """What a node reads, if it is a slice or a part of a split along an axis of static size."""
    if node.target is _aten.slice.Tensor:
        given = arguments(node)
        start = given["start"] or 0
        if given["step"] != 1:
            return None
    elif node.target is operator.getitem and node.all_input_nodes[0].target in _SPLITS:
        (split,) = node.all_input_nodes
        given = arguments(split)
        start = sum(one.shape[given["dim"]] for one in split.meta["val"][: node.args[1]])
    else:
        return None
    source, rank = given["self"], node.meta["val"].ndim
    size, whole = node.meta["val"].shape[given["dim"]], source.meta["val"].shape[given["dim"]]
    if not all(isinstance(one, int) for one in (start, size, whole)):
        return None
    start = min(max(start + whole, 0) if start < 0 else start, whole)
    return _Span(source, given["dim"] % rank, start, start + size)


def _origin(span: _Span) -> _Span:
    """The same values, cut out of the earliest tensor that holds them."""
    while True:
        outer = _cut(span.source)
        if outer is not None and outer.dim == span.dim:
            span = _Span(outer.source, span.dim, outer.start + span.start, outer.start + span.end)
        elif (part := _part(span)) is not None:
            span = part
        else:
            return span


def _part(span: _Span) -> _Span | None:
    """A span of a concatenation that lies in one of its parts, as a span of that part."""
    parts, dim = _concatenated(span.source) if span.source.target in _CATS else ([], span.dim)
    at = 0
    for one in parts if dim == span.dim else []:
        size = one.meta["val"].shape[dim]
        if not isinstance(size, int):
            return None
        if at <= span.start and span.end <= at + size:
            return _Span(one, dim, span.start - at, span.end - at)
        at += size
    return None


def _read(before: Node, span: _Span) -> Node:
    if (span.start, span.end) == (0, span.source.meta["val"].shape[span.dim]):
        return span.source
    return call(before, _aten.slice.Tensor, span.source, span.dim, span.start, span.end)
