"""The two lookup operators that a program's graph may hold: `recpile::embedding_bags` and its packed form.

Both take any number of *sources* of ids and say, feature by feature, which part of which source is looked up in which
table. So one call expresses a whole EmbeddingBagCollection or a row of nn.Embedding modules, and merging two calls is a
concatenation of lists (passes/batch_tables.py). The packed form is what an embedding stage runs; its kernel is FBGEMM's
table-batched lookup for inference, the one that the C++ runtime calls, and for bf16 rows bf16_lookup.py.

A source is *jagged* (ids [nnz], lengths [F, B]: a feature is one row of lengths) or *fixed* (no lengths, `columns` C:
ids of any shape seen as [N, C], a feature is `size` neighbouring columns, one bag a row).

Pooling "sum" and "mean" give one bag's rows as one: [bags, sum of dim over features]. Pooling "none" gives every id's
own row: it takes a single jagged source, each row of its lengths in at most one feature and all tables of one dim,
and gives [nnz, dim] in the order of the ids; ids of no feature give zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from recpile.pycompiler.bf16_lookup import look_up_bf16
from recpile.pycompiler.packing import FBGEMM_TYPES, TABLE_DTYPES

POOLINGS = ("sum", "mean", "none")  # the index is FBGEMM's PoolingMode
NONE = POOLINGS.index("none")


@torch.library.custom_op("recpile::embedding_bags", mutates_args=())
def embedding_bags(
    tables: Sequence[Tensor],
    values: Sequence[Tensor],
    lengths: Sequence[Optional[Tensor]],  # noqa: UP045  # torch reads the annotation
    weights: Sequence[Tensor],
    feature_source: Sequence[int],
    feature_row: Sequence[int],
    feature_table: Sequence[int],
    pooling: int,
    columns: Optional[Sequence[int]] = None,  # noqa: UP045
    feature_size: Optional[Sequence[int]] = None,  # noqa: UP045
) -> Tensor:
    """Pools the rows of every feature's bags; the features' results lie side by side.

    tables: fp32 [rows_t, dim_t] each. values: ids, [nnz_s] or of any shape each. lengths: [F_s, B] each, None for a
    fixed source. weights: fp32, shaped as values, each, or no weights at all. feature_*: feature f takes row
    feature_row[f] of source feature_source[f] (of a fixed source: columns feature_row[f] .. + feature_size[f]), and
    looks it up in table feature_table[f]. pooling: an index into POOLINGS. columns: C of each fixed source, 0 for a
    jagged one. Returns fp32 [bags, sum of dim over features]; for pooling "none" [nnz, dim].
    """
    features = bags_by_feature(values, lengths, weights, feature_source, feature_row, columns, feature_size)

    def look_up(bag: _Bag, t: int) -> Tensor:
        if pooling == NONE:
            return F.embedding(bag.ids, tables[t])
        return F.embedding_bag(
            bag.ids,
            tables[t],
            bag.offsets,
            mode=POOLINGS[pooling],
            per_sample_weights=bag.weights,
            include_last_offset=True,
        )

    found = [(bag, look_up(bag, t)) for bag, t in zip(features, feature_table, strict=True)]
    return _joined(found, pooling, values, int(tables[0].shape[1]))


@embedding_bags.register_fake
def _(tables, values, lengths, weights, source, row, table, pooling, columns=None, feature_size=None):
    dims = [tables[t].shape[1] for t in table]
    return tables[0].new_empty(_result_shape(values, lengths, columns, dims, pooling), dtype=torch.float32)


@torch.library.custom_op("recpile::packed_embedding_bags", mutates_args=())
def packed_embedding_bags(
    tables: Sequence[Tensor],
    dims: Sequence[int],
    dtypes: Sequence[int],
    values: Sequence[Tensor],
    lengths: Sequence[Optional[Tensor]],  # noqa: UP045
    weights: Sequence[Tensor],
    feature_source: Sequence[int],
    feature_row: Sequence[int],
    feature_table: Sequence[int],
    pooling: int,
    columns: Optional[Sequence[int]] = None,  # noqa: UP045
    feature_size: Optional[Sequence[int]] = None,  # noqa: UP045
    zeros: bool = False,
    bf16: bool = False,
) -> Tensor:
    """embedding_bags on packed tables: uint8 [rows_t, row_bytes_t] in FBGEMM's row format (packing.py).

    dims: elements of a row, a table. dtypes: FBGEMM's SparseType number, a table. An id outside its table is an
    IndexError, or, with `zeros`, a row of zeros (which a mean counts too). The result is rounded to bf16 if `bf16`
    says so. The rest, and what it returns, as embedding_bags.
    """
    features = bags_by_feature(values, lengths, weights, feature_source, feature_row, columns, feature_size)
    found = [
        (bag, _lookup(tables[t], dims[t], dtypes[t], bag, pooling, zeros, bf16))
        for bag, t in zip(features, feature_table, strict=True)
    ]
    return _joined(found, pooling, values, dims[0])


@packed_embedding_bags.register_fake
def _(
    tables,
    dims,
    dtypes,
    values,
    lengths,
    weights,
    source,
    row,
    table,
    pooling,
    columns=None,
    feature_size=None,
    zeros=False,
    bf16=False,
):
    shape = _result_shape(values, lengths, columns, [dims[t] for t in table], pooling)
    return tables[0].new_empty(shape, dtype=torch.bfloat16 if bf16 else torch.float32)


def bags_of(values: Tensor, lengths: Tensor | None, columns: int) -> int | torch.SymInt:
    """How many bags each feature of a source has."""
    if lengths is not None:
        return lengths.shape[-1]
    if values.ndim and columns == values.shape[-1]:
        columns, values = 1, values.select(-1, 0)
    return values.numel() if columns == 1 else values.numel() // columns


def _result_shape(values, lengths, columns, dims, pooling):
    if pooling == NONE:
        return (values[0].shape[0], dims[0])
    return (bags_of(values[0], lengths[0], columns[0] if columns else 0), sum(dims))


@dataclass(frozen=True)
class _Bag:
    """One feature's bags: ids [nnz], offsets int64 [B + 1], weights [nnz] or None; `span` is where a jagged source has
    the ids."""

    ids: Tensor
    offsets: Tensor
    weights: Tensor | None
    span: slice


def bags_by_feature(values, lengths, weights, feature_source, feature_row, columns, feature_size) -> Iterator[_Bag]:
    ends = [None if one is None else F.pad(one.reshape(-1).to(torch.int64).cumsum(0), (1, 0)) for one in lengths]
    for f, (source, row) in enumerate(zip(feature_source, feature_row, strict=True)):
        if lengths[source] is None:
            yield _fixed(values[source], weights[source] if weights else None, columns[source], row, feature_size[f])
            continue
        batch = lengths[source].shape[-1]
        offsets = ends[source][row * batch : (row + 1) * batch + 1]
        span = slice(int(offsets[0]), int(offsets[-1]))
        # A strided view would be read as if it were contiguous by the kernel.
        ids = values[source][span].to(torch.int64).contiguous()
        yield _Bag(ids, offsets - offsets[0], weights[source][span].contiguous() if weights else None, span)


def _fixed(values: Tensor, weights: Tensor | None, columns: int, start: int, size: int) -> _Bag:
    def cut(one: Tensor) -> Tensor:
        return one.reshape(-1, columns)[:, start : start + size].reshape(-1).contiguous()

    rows = values.numel() // columns
    offsets = torch.arange(rows + 1, dtype=torch.int64) * size
    return _Bag(cut(values).to(torch.int64), offsets, None if weights is None else cut(weights), slice(None))


def _joined(found: list[tuple[_Bag, Tensor]], pooling: int, values: Sequence[Tensor], dim: int) -> Tensor:
    if pooling != NONE:
        return torch.cat([pooled for _, pooled in found], dim=1)
    rows = torch.zeros(values[0].shape[0], dim, dtype=found[0][1].dtype)
    for bag, given in found:
        rows[bag.span] = given
    return rows


def _lookup(table: Tensor, dim: int, dtype: int, bag: _Bag, pooling: int, zeros: bool, bf16: bool) -> Tensor:
    outside = (bag.ids < 0) | (bag.ids >= table.shape[0])
    if bool(outside.any()) and not zeros:
        raise IndexError(f"id {int(bag.ids[outside][0])} is outside a table of {table.shape[0]} rows")
    if dtype == FBGEMM_TYPES["bf16"]:
        return look_up_bf16(table, dim, bag.ids, bag.offsets, bag.weights, POOLINGS[pooling], bf16)

    import fbgemm_gpu  # noqa: F401  # registers torch.ops.fbgemm; imported late, it takes a second

    host = 3  # FBGEMM's PlacementType.HOST
    # A row's largest size, by width of its type: int2, int4, int8, fp16, fp32. Zero leaves a kernel out.
    most = {name: dim if FBGEMM_TYPES[name] == dtype else 0 for name in TABLE_DTYPES}
    return torch.ops.fbgemm.int_nbit_split_embedding_codegen_lookup_function(
        table.reshape(-1),
        torch.empty(0, dtype=torch.uint8),
        torch.tensor([host], dtype=torch.int32),
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([dtype], dtype=torch.uint8),
        torch.tensor([0, dim], dtype=torch.int32),
        dim,
        most["int2"],
        most["int4"],
        most["int8"],
        most["fp16"],
        most["fp32"],
        bag.ids.masked_fill(outside, -1),  # the kernel's id of a row that was pruned
        bag.offsets.contiguous(),
        pooling,
        bag.weights,
        FBGEMM_TYPES["bf16" if bf16 else "fp32"],
    )
