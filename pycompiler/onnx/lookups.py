"""recpile's operators said in ONNX's own: no loop, no operator of ours, any batch size.

A jagged feature's bags are summed by scattering: position i of the source lies in segment s(i), found for the whole
source at once by counting the segments that end at or before i; its row is then added to row s(i) of the result. A
fixed feature is a Gather and a sum over its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnxscript import opset18

from recpile.pycompiler.operators import POOLINGS

OPSET = 18

# A value of the ONNX graph that is being built. While torch's exporter listens, onnxscript's operators give these, not
# what their annotations say.
Value = Any
op: Any = opset18


def embedding_bags(
    tables: Sequence[Value],
    values: Sequence[Value],
    lengths: Sequence[Value | None],
    weights: Sequence[Value],
    feature_source: Sequence[int],
    feature_row: Sequence[int],
    feature_table: Sequence[int],
    pooling: int,
    columns: Sequence[int] | None = None,
    feature_size: Sequence[int] | None = None,
) -> Value:
    """Builds what operators.embedding_bags computes, with the same arguments. Ids are taken to be in range."""
    mode = POOLINGS[pooling]
    jagged: dict[int, _Jagged] = {}
    found = []
    for f, (s, row) in enumerate(zip(feature_source, feature_row, strict=True)):
        table, weight = tables[feature_table[f]], weights[s] if weights else None
        if lengths[s] is None:
            assert columns is not None
            assert feature_size is not None
            found.append(_fixed(table, values[s], weight, columns[s], slice(row, row + feature_size[f]), mode))
            continue
        if s not in jagged:
            jagged[s] = _Jagged(values[s], lengths[s], weight)
        found.append(jagged[s].scattered(table, row) if mode == "none" else jagged[s].pooled(table, row, mode))
    if mode == "none":  # each feature fills rows of its own, and leaves the others at zero
        return found[0] if len(found) == 1 else op.Sum(*found)
    return found[0] if len(found) == 1 else op.Concat(*found, axis=1)


def repeat_bags(values: Value, lengths: Value, index: Value) -> Value:
    """Builds what request_axis.repeat_bags computes, with the same arguments."""
    sizes = op.Cast(op.Reshape(lengths, _ints(-1)), to=onnx.TensorProto.INT64)
    starts = op.Reshape(op.CumSum(sizes, _int(0), exclusive=1), op.Shape(lengths))
    firsts = op.Reshape(op.Gather(starts, index, axis=-1), _ints(-1))
    taken = op.Gather(op.Reshape(sizes, op.Shape(lengths)), index, axis=-1)
    ends = op.CumSum(op.Reshape(taken, _ints(-1)), _int(0))
    begins = op.Sub(ends, op.Reshape(taken, _ints(-1)))
    count = op.ReduceSum(taken, keepdims=0)
    segments = _segments(ends, op.Reshape(count, _ints(1)))
    within = op.Sub(op.Range(_int(0), count, _int(1)), op.Gather(begins, segments))
    return op.Gather(values, op.Add(op.Gather(firsts, segments), within))


class _Jagged:
    """One source, and what all its features share: where each segment ends, and the segment of each position."""

    def __init__(self, values: Value, lengths: Value, weights: Value | None) -> None:
        self.values, self.weights = values, weights
        self.bags = op.Shape(lengths, start=-1)  # [1]: how many bags a feature has
        self.lengths = op.Cast(op.Reshape(lengths, _ints(-1)), to=onnx.TensorProto.INT64)  # [F * B]
        ends = op.CumSum(self.lengths, _int(0))
        self.ends = op.Concat(_ints(0), ends, axis=0)  # [F * B + 1]
        self.segments = _segments(ends, op.Shape(values))

    def pooled(self, table: Value, row: int, mode: str) -> Value:
        """[B, dim]: the rows of each bag of row `row` of the lengths, summed or averaged; zeros for an empty bag."""
        start, end = self._span(row)
        first = op.Mul(self.bags, _ints(row))
        rows = op.Gather(table, op.Slice(self.values, start, end))
        if self.weights is not None:
            rows = op.Mul(rows, op.Unsqueeze(op.Slice(self.weights, start, end), _ints(1)))
        bag = op.Unsqueeze(op.Sub(op.Slice(self.segments, start, end), first), _ints(1))
        total = op.ScatterND(_zeros(self.bags, table), bag, rows, reduction="add")
        if mode == "sum":
            return total
        counts = op.Slice(self.lengths, first, op.Add(first, self.bags))
        counts = op.Max(op.Cast(counts, to=onnx.TensorProto.FLOAT), _float(1.0))
        return op.Div(total, op.Unsqueeze(counts, _ints(1)))

    def scattered(self, table: Value, row: int) -> Value:
        """[nnz, dim]: the row of each id of row `row` of the lengths, where that id stands; zeros elsewhere."""
        start, end = self._span(row)
        rows = op.Gather(table, op.Slice(self.values, start, end))
        places = op.Range(op.Squeeze(start), op.Squeeze(end), _int(1))
        return op.ScatterND(_zeros(op.Shape(self.values), table), op.Unsqueeze(places, _ints(1)), rows)

    def _span(self, row: int) -> tuple[Value, Value]:
        """[1] each: from where to where the source has the ids of row `row`."""
        return (
            op.Gather(self.ends, op.Mul(self.bags, _ints(row))),
            op.Gather(self.ends, op.Mul(self.bags, _ints(row + 1))),
        )


def _fixed(table: Value, values: Value, weights: Value | None, columns: int, part: slice, mode: str) -> Value:
    """[N, dim]: the rows of columns `part` of the ids seen as [N, columns], summed or averaged."""

    def cut(one: Value) -> Value:
        return op.Slice(op.Reshape(one, _ints(-1, columns)), _ints(part.start), _ints(part.stop), _ints(1))

    rows = op.Gather(table, cut(values))  # [N, size, dim]
    if weights is not None:
        rows = op.Mul(rows, op.Unsqueeze(cut(weights), _ints(2)))
    if part.stop - part.start == 1:
        return op.Squeeze(rows, _ints(1))
    reduce = op.ReduceSum if mode == "sum" else op.ReduceMean
    return reduce(rows, _ints(1), keepdims=0)


def _segments(ends: Value, count: Value) -> Value:
    """int64 [count]: the segment of each position, where segment i ends before position ends[i]."""
    marks = op.Expand(_int(0), op.Add(count, _ints(1)))
    one_each = op.Expand(_int(1), op.Shape(ends))
    marks = op.ScatterElements(marks, ends, one_each, axis=0, reduction="add")
    return op.Slice(op.CumSum(marks, _int(0)), _ints(0), count)


def _zeros(rows: Value, table: Value) -> Value:
    return op.Expand(_float(0.0), op.Concat(rows, op.Shape(table, start=1), axis=0))


def _ints(*values: int) -> Value:
    return op.Constant(value_ints=list(values))


def _int(value: int) -> Value:
    return op.Constant(value_int=value)


def _float(value: float) -> Value:
    return op.Constant(value_float=value)
