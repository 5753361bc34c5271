"""How far apart two runs of a model are, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# An fp32 artifact must agree with eager to this, absolute, on every output.
FP32_TOLERANCE = 1e-5


def difference_of(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> tuple[float, float]:
    """(largest absolute difference, what is allowed). Infinite if the numbers of elements differ, NaN if any is NaN.

    Shapes are not compared: a bare squeeze() drops the batch axis at one candidate, in eager only.
    """
    worst, allowed = 0.0, FP32_TOLERANCE
    for a, b in zip(wanted, got, strict=True):
        if a.numel() != b.numel():
            return float("inf"), allowed
        if a.numel():
            apart = float((a.double() - b.double().reshape(a.shape)).abs().max())
            worst = apart if math.isnan(apart) or apart > worst else worst  # NaN, once there, stays
            # Sums over long bags are large, and fp32 has 24 bits. An output of 16 bits may be rounded the other way.
            small = a.dtype in (torch.float16, torch.bfloat16)
            relative = torch.finfo(a.dtype).eps if small else FP32_TOLERANCE
            largest = float(a.double().abs().max())
            allowed = max(allowed, relative * largest) if math.isfinite(largest) else allowed
    return worst, allowed
