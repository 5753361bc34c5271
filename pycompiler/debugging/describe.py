"""Tensors in a few words."""

from __future__ import annotations

import torch
from torch import Tensor

from recpile.pycompiler.schema import DTYPE_NAMES

_SHOWN = 4


def told_tensor(one: Tensor) -> str:
    """ "fp32[16, 8] 0.1 0.2 0.3 0.4 …, min -1.2, max 3.4"."""
    first = " ".join(_number(value) for value in one.reshape(-1)[:_SHOWN].tolist())
    text = f"{DTYPE_NAMES.get(one.dtype, str(one.dtype))}{list(one.shape)} {first}".rstrip()
    if one.numel() <= _SHOWN or one.dtype == torch.bool:
        return text
    bad = int((~torch.isfinite(one)).sum()) if one.is_floating_point() else 0
    low, high = one.double().aminmax()
    return f"{text} …, min {_number(float(low))}, max {_number(float(high))}" + (f", {bad} NaN or Inf" if bad else "")


def told_difference(wanted: Tensor, got: Tensor) -> str:
    """ "largest difference 0.5 at [3, 1]: 1.5 instead of 1"."""
    a, b = wanted.double().reshape(-1), got.double().reshape(-1)
    apart = (a - b).abs()
    at = int(torch.where(apart.isnan(), torch.inf, apart).argmax())
    place = [int(one) for one in torch.unravel_index(torch.tensor(at), got.shape)] if got.ndim else []
    values = f"{_number(float(b[at]))} instead of {_number(float(a[at]))}"
    return f"largest difference {float(apart[at]):.3g} at {place}: {values}"


def _number(value: float | int | bool) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
