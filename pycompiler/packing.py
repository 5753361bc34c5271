"""Table rows in FBGEMM's inference format, one function a direction.

A packed table is uint8 [rows, row_bytes]. fp32 and fp16 rows are the plain elements. An int8 row is a header (scale
fp16, bias fp16) and one byte an element, value = scale * byte + bias: row-wise asymmetric quantization, round to
nearest (Guan et al. 2019, "Post-Training 4-bit Quantization on Embedding Tables", arXiv:1911.02079, section 2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TABLE_DTYPES = ("fp32", "fp16", "int8")
FBGEMM_TYPES = {"fp32": 0, "fp16": 1, "int8": 2}  # fbgemm_gpu's SparseType numbers
_INT8_HEADER_BYTES = 4
_ROWS_AT_ONCE = 1 << 16


def row_bytes(dtype: str, dim: int) -> int:
    """Bytes of one packed row of `dim` elements."""
    return {"fp32": 4 * dim, "fp16": 2 * dim, "int8": _INT8_HEADER_BYTES + dim}[dtype]


def pack(table: Tensor, dtype: str) -> Tensor:
    """fp32 [rows, dim] -> uint8 [rows, row_bytes]. ValueError for a value that `dtype` cannot hold."""
    table = table.detach().to(torch.float32).contiguous()
    low, high = (float(one) for one in table.aminmax()) if table.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        row = int((~torch.isfinite(table)).any(dim=1).nonzero()[0])
        raise ValueError(f"row {row} holds NaN or Inf; a trained table is finite")
    if dtype == "fp32":
        return table.view(torch.uint8)
    largest = max(-low, high)
    if largest > torch.finfo(torch.float16).max:
        raise ValueError(f"values up to {largest:.3g} do not fit {dtype} rows (at most 65504); use fp32")
    # In slices: what the bytes are computed from is several times the size of the rows.
    packed = torch.empty(table.shape[0], row_bytes(dtype, table.shape[1]), dtype=torch.uint8)
    for into, rows in zip(packed.split(_ROWS_AT_ONCE), table.split(_ROWS_AT_ONCE), strict=True):
        into.copy_(rows.to(torch.float16).view(torch.uint8) if dtype == "fp16" else _pack_int8(rows))
    return packed


def unpack(packed: Tensor, dtype: str, dim: int) -> Tensor:
    """uint8 [rows, row_bytes] -> fp32 [rows, dim]: what a lookup of each row gives."""
    if dtype == "int8":
        # Flat: a single row of an odd size counts as contiguous, and then cannot be viewed in another type.
        header = packed[:, :_INT8_HEADER_BYTES].reshape(-1).view(torch.float16).view(-1, 2).to(torch.float32)
        return packed[:, _INT8_HEADER_BYTES:].to(torch.float32) * header[:, :1] + header[:, 1:]
    elements = torch.float16 if dtype == "fp16" else torch.float32
    return packed.contiguous().view(elements).to(torch.float32).view(-1, dim)


def _pack_int8(table: Tensor) -> Tensor:
    low, high = table.aminmax(dim=1, keepdim=True)
    # Scale and bias are rounded to fp16 first, so that the bytes are chosen for the scale a lookup will really use.
    bias = low.to(torch.float16)
    scale = ((high - bias.to(torch.float32)) / 255).to(torch.float16)
    step = torch.where(scale == 0, torch.ones_like(scale), scale).to(torch.float32)
    codes = ((table - bias.to(torch.float32)) / step).round_().clamp_(0, 255).to(torch.uint8)
    return torch.cat([torch.cat([scale, bias], dim=1).view(torch.uint8), codes], dim=1)
