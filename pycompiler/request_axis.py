"""The request axis in a graph: how one row a request becomes one row a candidate."""

from __future__ import annotations

import torch
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
