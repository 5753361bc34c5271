"""Scale and bias of a row with few levels: rounding all of its range to 4 or 16 values is far from the best.

Greedy clipping (Guan et al. 2019, "Post-Training 4-bit Quantization on Embedding Tables", arXiv:1911.02079, 3.2):
the end of the range whose move inwards leaves the smaller squared error moves, again and again, and the best range
seen is kept. Then scale and bias are fitted to the codes by least squares and the codes chosen anew, while that
helps. Every row is searched on its own, so how often rows are hit changes no row's best scale; it matters where
tables are weighed against each other (pycompiler/precision/).
"""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = {15: 24, 3: 40}  # how many moves inwards, each 1 / 64 of the row's range: fewer levels gain from more
_MOVES_IN_A_RANGE = 64
_FITS = 6


def search_scale(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """fp32 [rows, dim] -> fp16 scale and bias, [rows, 1] each, of the least squared error found.

    `levels` is the largest code (15 of int4, 3 of int2). Codes are rounded for the fp16 values that a lookup will use.
    """
    low, high = rows.aminmax(dim=1, keepdim=True)
    best = _Best(rows, levels)
    best.offer(low, high)
    move = (high - low) / _MOVES_IN_A_RANGE
    for _ in range(_STEPS[levels]):
        from_below, from_above = best.offer(low + move, high), best.offer(low, high - move)
        up = from_below <= from_above
        low, high = torch.where(up, low + move, low), torch.where(up, high, high - move)
    for _ in range(_FITS):
        scale, bias = _fitted(rows, codes(rows, best.scale, best.bias, levels))
        best.offer(bias, bias + levels * scale)
    return best.scale, best.bias


def plain_scale(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """fp16 scale and bias that span each row's whole range."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    return _rounded(low, high, levels)


def codes(rows: Tensor, scale: Tensor, bias: Tensor, levels: int) -> Tensor:
    """The nearest code of each element, fp32 [rows, dim] of whole numbers from 0 to `levels`."""
    step = torch.where(scale == 0, torch.ones_like(scale), scale).to(torch.float32)
    return ((rows - bias.to(torch.float32)) / step).round_().clamp_(0, levels)


class _Best:
    """The scale and bias of the least squared error offered so far, row by row."""

    def __init__(self, rows: Tensor, levels: int) -> None:
        self.rows, self.levels = rows, levels
        self.error = torch.full((rows.shape[0], 1), float("inf"))
        self.scale = torch.zeros(rows.shape[0], 1, dtype=torch.float16)
        self.bias = torch.zeros(rows.shape[0], 1, dtype=torch.float16)

    def offer(self, low: Tensor, high: Tensor) -> Tensor:
        """The squared error [rows, 1] of the range from `low` to `high`, each [rows, 1]."""
        scale, bias = _rounded(low, high, self.levels)
        back = codes(self.rows, scale, bias, self.levels) * scale.to(torch.float32) + bias.to(torch.float32)
        error = (back - self.rows).square_().sum(dim=1, keepdim=True)
        better = error < self.error
        self.error = torch.where(better, error, self.error)
        self.scale, self.bias = torch.where(better, scale, self.scale), torch.where(better, bias, self.bias)
        return error


def _rounded(low: Tensor, high: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    # Scale and bias are rounded to fp16 first, so that the codes are chosen for the scale a lookup will really use.
    bias = low.to(torch.float16)
    return ((high - bias.to(torch.float32)).clamp_(min=0) / levels).to(torch.float16), bias


def _fitted(rows: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and bias, fp32 [rows, 1] each, of the line through (code, element) with the least squared error."""
    code, value = at.mean(dim=1, keepdim=True), rows.mean(dim=1, keepdim=True)
    spread = (at - code).square().sum(dim=1, keepdim=True)
    slope = ((at - code) * (rows - value)).sum(dim=1, keepdim=True) / spread.clamp(min=1e-12)
    return slope, value - slope * code
