"""Table rows in FBGEMM's inference format, one function a direction.

A packed table is uint8 [rows, row_bytes]. fp32, fp16 and bf16 rows are the plain elements. An int8, int4 or int2 row
is a header (scale fp16, bias fp16) and 8, 4 or 2 bits an element, the first one in the lowest bits, value = scale *
code + bias: row-wise asymmetric quantization, round to nearest (Guan et al. 2019, "Post-Training 4-bit Quantization on
Embedding Tables", arXiv:1911.02079, section 2). int4 and int2 rows get the scale that clipping.py finds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recpile.pycompiler.clipping import codes, plain_scale, search_scale

TABLE_DTYPES = ("fp32", "fp16", "bf16", "int8", "int4", "int2")
# fbgemm_gpu's SparseType numbers. Its lookup for CPUs does not read bf16 rows: bf16_lookup.py does.
FBGEMM_TYPES = {"fp32": 0, "fp16": 1, "int8": 2, "int4": 3, "int2": 4, "bf16": 5}
_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8, "int4": 4, "int2": 2}
_PLAIN = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_HEADER_BYTES = 4
_ROWS_AT_ONCE = 1 << 16


def check_dtype(dtype: str) -> None:
    """ValueError for a type that no table can have."""
    if dtype not in TABLE_DTYPES:
        raise ValueError(f"embedding dtype: got '{dtype}'; use one of {', '.join(TABLE_DTYPES)}")


def fits(dtype: str, dim: int) -> bool:
    """Whether rows of `dim` elements fill whole bytes, as the format wants."""
    return dim * _BITS[dtype] % 8 == 0


def row_bytes(dtype: str, dim: int) -> int:
    """Bytes of one packed row of `dim` elements."""
    return dim * _BITS[dtype] // 8 + (0 if dtype in _PLAIN else _HEADER_BYTES)


def pack(table: Tensor, dtype: str, search: bool = True) -> Tensor:
    """fp32 [rows, dim] -> uint8 [rows, row_bytes]. ValueError for what `dtype` cannot hold.

    Without `search`, int4 and int2 rows span their whole range, as int8 rows always do.
    """
    table = table.detach().to(torch.float32).contiguous()
    dim = table.shape[1]
    if not fits(dtype, dim):
        raise ValueError(
            f"{dtype} rows hold a multiple of {8 // _BITS[dtype]} elements; this table has {dim}; use int8"
        )
    low, high = (float(one) for one in table.aminmax()) if table.numel() else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        row = int((~torch.isfinite(table)).any(dim=1).nonzero()[0])
        raise ValueError(f"row {row} holds NaN or Inf; a trained table is finite")
    if dtype == "fp32":
        return table.view(torch.uint8)
    # int8, int4 and int2 rows have scale and bias in fp16.
    largest, most = max(-low, high), torch.finfo(_PLAIN.get(dtype, torch.float16)).max
    if largest > most:
        wider = "fp32" if dtype == "bf16" else "bf16 or fp32"
        raise ValueError(f"values up to {largest:.3g} do not fit {dtype} rows (at most {most:.6g}); use {wider}")
    # In slices: what the bytes are computed from is several times the size of the rows.
    packed = torch.empty(table.shape[0], row_bytes(dtype, dim), dtype=torch.uint8)
    for into, rows in zip(packed.split(_ROWS_AT_ONCE), table.split(_ROWS_AT_ONCE), strict=True):
        plain = _PLAIN.get(dtype)
        into.copy_(_pack_codes(rows, dtype, search) if plain is None else rows.to(plain).view(torch.uint8))
    return packed


def unpack(packed: Tensor, dtype: str, dim: int) -> Tensor:
    """uint8 [rows, row_bytes] -> fp32 [rows, dim]: what a lookup of each row gives."""
    if dtype in _PLAIN:
        return packed.contiguous().view(_PLAIN[dtype]).to(torch.float32).view(-1, dim)
    # Flat: a single row of an odd size counts as contiguous, and then cannot be viewed in another type.
    header = packed[:, :_HEADER_BYTES].reshape(-1).view(torch.float16).view(-1, 2).to(torch.float32)
    bits = _BITS[dtype]
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    at = (packed[:, _HEADER_BYTES:, None] >> shifts) & (2**bits - 1)
    return at.reshape(-1, dim).to(torch.float32) * header[:, :1] + header[:, 1:]


def _pack_codes(rows: Tensor, dtype: str, search: bool) -> Tensor:
    bits = _BITS[dtype]
    levels = 2**bits - 1
    # 256 levels are enough to span the range: the search gains them next to nothing.
    scale, bias = (search_scale if search and bits < 8 else plain_scale)(rows, levels)
    at = codes(rows, scale, bias, levels).to(torch.uint8).view(len(rows), -1, 8 // bits)
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    joined = (at << shifts).sum(dim=2, dtype=torch.uint8)
    return torch.cat([torch.cat([scale, bias], dim=1).view(torch.uint8), joined], dim=1)
