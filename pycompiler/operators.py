"""The two lookup operators that a program's graph may hold: `recpile::embedding_bags` and its packed form.

Both take any number of jagged *sources* and say, feature by feature, which row of which source is looked up in which
table. So one call expresses a whole EmbeddingBagCollection, and merging two calls is a concatenation of lists
(passes/batch_tables.py). The packed form is what an embedding stage runs; its kernel is FBGEMM's table-batched lookup
for inference, the one that the C++ runtime calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from recpile.pycompiler.packing import FBGEMM_TYPES, TABLE_DTYPES

POOLINGS = ("sum", "mean")  # the index is FBGEMM's PoolingMode


@torch.library.custom_op("recpile::embedding_bags", mutates_args=())
def embedding_bags(
    tables: Sequence[Tensor],
    values: Sequence[Tensor],
    lengths: Sequence[Tensor],
    weights: Sequence[Tensor],
    feature_source: Sequence[int],
    feature_row: Sequence[int],
    feature_table: Sequence[int],
    pooling: int,
) -> Tensor:
    """Pools the rows of every feature's bags; the features' results lie side by side.

    tables: fp32 [rows_t, dim_t] each. values: ids [nnz_s] each, lengths [F_s, B] each, weights fp32 [nnz_s] each or no
    weights at all. feature_*: a feature f takes row feature_row[f] of source feature_source[f], and looks it up in
    table feature_table[f]. pooling: an index into POOLINGS. Returns fp32 [B, sum of dim over features].
    """
    pooled = []
    for bag in _bags(values, lengths, weights, feature_source, feature_row):
        table = tables[feature_table[len(pooled)]]
        pooled.append(
            F.embedding_bag(
                bag.ids,
                table,
                bag.offsets,
                mode=POOLINGS[pooling],
                per_sample_weights=bag.weights,
                include_last_offset=True,
            )
        )
    return torch.cat(pooled, dim=1)


@embedding_bags.register_fake
def _(tables, values, lengths, weights, feature_source, feature_row, feature_table, pooling):
    dim = sum(tables[t].shape[1] for t in feature_table)
    return tables[0].new_empty(lengths[0].shape[-1], dim, dtype=torch.float32)


@torch.library.custom_op("recpile::packed_embedding_bags", mutates_args=())
def packed_embedding_bags(
    tables: Sequence[Tensor],
    dims: Sequence[int],
    dtypes: Sequence[int],
    values: Sequence[Tensor],
    lengths: Sequence[Tensor],
    weights: Sequence[Tensor],
    feature_source: Sequence[int],
    feature_row: Sequence[int],
    feature_table: Sequence[int],
    pooling: int,
) -> Tensor:
    """embedding_bags on packed tables: uint8 [rows_t, row_bytes_t] in FBGEMM's row format (packing.py).

    dims: elements of a row, a table. dtypes: FBGEMM's SparseType number, a table. IndexError for an id outside its
    table: the kernel itself would read past it. Returns fp32 [B, sum of dim over features].
    """
    pooled = []
    for bag in _bags(values, lengths, weights, feature_source, feature_row):
        t = feature_table[len(pooled)]
        pooled.append(_lookup(tables[t], dims[t], dtypes[t], bag, pooling))
    return torch.cat(pooled, dim=1)


@packed_embedding_bags.register_fake
def _(tables, dims, dtypes, values, lengths, weights, feature_source, feature_row, feature_table, pooling):
    dim = sum(dims[t] for t in feature_table)
    return tables[0].new_empty(lengths[0].shape[-1], dim, dtype=torch.float32)


class _Bag:
    """One feature's bags: ids [nnz], offsets int64 [B + 1], weights [nnz] or None."""

    def __init__(self, ids: Tensor, offsets: Tensor, weights: Tensor | None) -> None:
        self.ids, self.offsets, self.weights = ids, offsets, weights


def _bags(values, lengths, weights, feature_source, feature_row):
    ends = [F.pad(one.reshape(-1).to(torch.int64).cumsum(0), (1, 0)) for one in lengths]
    for source, row in zip(feature_source, feature_row, strict=True):
        batch = lengths[source].shape[-1]
        offsets = ends[source][row * batch : (row + 1) * batch + 1]
        span = slice(int(offsets[0]), int(offsets[-1]))
        # A strided view would be read as if it were contiguous by the kernel.
        ids = values[source][span].to(torch.int64).contiguous()
        yield _Bag(ids, offsets - offsets[0], weights[source][span].contiguous() if weights else None)


def _lookup(table: Tensor, dim: int, dtype: int, bag: _Bag, pooling: int) -> Tensor:
    outside = (bag.ids < 0) | (bag.ids >= table.shape[0])
    if bool(outside.any()):
        raise IndexError(f"id {int(bag.ids[outside][0])} is outside a table of {table.shape[0]} rows")

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
        0,
        0,
        most["int8"],
        most["fp16"],
        most["fp32"],
        bag.ids,
        bag.offsets.contiguous(),
        pooling,
        bag.weights,
        0,  # output in fp32
    )
