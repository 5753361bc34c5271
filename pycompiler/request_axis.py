"""The request axis in a graph: how one row a request becomes one row a candidate, and jagged rows become dense ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("recpile::repeat_bags", mutates_args=())
def repeat_bags(values: Tensor, lengths: Tensor, index: Tensor) -> Tensor:
    """The bags of jagged `values` [nnz] taken as `index` says: bag b of the result is bag index[b], key by key.

    lengths: [R] or [F, R]. index: int64 [B]. The result's lengths are lengths.index_select(-1, index). No stage can run
    this: its result's size depends on data. passes/hoist_request_side.py moves it behind the lookups.
    """
    bags = lengths.reshape(-1, lengths.shape[-1]).to(torch.int64)
    starts = (bags.reshape(-1).cumsum(0) - bags.reshape(-1)).reshape(bags.shape)
    sizes, firsts = bags[:, index].reshape(-1), starts[:, index].reshape(-1)
    ends = sizes.cumsum(0)
    within = torch.arange(int(sizes.sum())) - (ends - sizes).repeat_interleave(sizes)
    return values[firsts.repeat_interleave(sizes) + within]


@repeat_bags.register_fake
def _(values, lengths, index):
    return values.new_empty(torch.library.get_ctx().new_dynamic_size())


def padded_bags(values: Tensor, lengths: Tensor, row: int, length: int, padding: float) -> Tensor:
    """[B, length, …]: the bags of `values` [nnz, …] that row `row` of lengths [F, B] has, each cut or padded."""
    batch = lengths.shape[-1]
    offsets = F.pad(lengths.reshape(-1).to(torch.int64).cumsum(0), (1, 0))
    starts = offsets[row * batch : (row + 1) * batch]
    at = torch.arange(length, device=values.device)
    inside = at < lengths[row].unsqueeze(1)
    # One row of padding behind the others is what every place past a bag's end reads.
    rows = torch.cat([values, values.new_full((1, *values.shape[1:]), padding)])
    return rows[torch.where(inside, starts.unsqueeze(1) + at, values.shape[0])]


@torch.library.custom_op("recpile::pad_bags", mutates_args=())
def pad_bags(values: Tensor, lengths: Tensor, row: int, length: int, padding: float) -> Tensor:
    """padded_bags as one operator, so that passes see it whole; passes/write_out_padding.py puts the function back."""
    return padded_bags(values, lengths, row, length, padding)


@pad_bags.register_fake
def _(values, lengths, row, length, padding):
    return values.new_empty(lengths.shape[-1], length, *values.shape[1:])


REPEAT_BAGS = torch.ops.recpile.repeat_bags.default
PAD_BAGS = torch.ops.recpile.pad_bags.default
