"""Lookups in tables of bf16 rows, which FBGEMM's inference kernels for CPUs do not read (1.8 divides by zero).

The C++ runtime's kernel (runtime_cpp/execute/bf16_lookup.cc) does the same arithmetic in the same order, so that both
give the same bits: rows are widened to fp32, multiplied by their weights and added to zero in the order of the ids,
each step rounded by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor


def look_up_bf16(
    packed: Tensor, dim: int, ids: Tensor, offsets: Tensor, weights: Tensor | None, pooling: str, bf16: bool
) -> Tensor:
    """packed: uint8 [rows, 2 * dim]. ids: int64 [nnz]; one that the table does not have is a row of zeros. offsets:
    int64 [bags + 1] into ids. weights: fp32 [nnz]. pooling: "sum", "mean" or "none". Returns [bags, dim], or [nnz, dim]
    without pooling; fp32, or rounded to bf16."""
    outside = (ids < 0) | (ids >= packed.shape[0])
    rows = packed.view(torch.bfloat16)[ids.masked_fill(outside, 0)].to(torch.float32)
    if pooling == "none":
        pooled = rows.masked_fill_(outside[:, None], 0)
    else:
        terms = rows if weights is None else rows * weights[:, None]
        pooled = _summed(terms.masked_fill_(outside[:, None], 0), offsets, dim)
        if pooling == "mean":
            pooled /= offsets.diff().clamp(min=1)[:, None]
    return pooled.to(torch.bfloat16) if bf16 else pooled


def _summed(terms: Tensor, offsets: Tensor, dim: int) -> Tensor:
    """The first ids of all bags, then the second ones, and so on: torch's own sums over a bag choose their order."""
    starts, lengths = offsets[:-1], offsets.diff()
    sums = torch.zeros(len(lengths), dim)
    for at in range(int(lengths.max()) if len(lengths) else 0):
        longer = (lengths > at).nonzero().reshape(-1)
        sums[longer] += terms[starts[longer] + at]
    return sums
