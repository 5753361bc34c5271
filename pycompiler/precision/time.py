"""What a row costs in time, roughly: for the search to weigh types against each other when speed is preferred.

Measured on one thread of a Xeon with AVX-512 and AMX, in batches of 128: layers of 512 to 1024 columns, and random rows
of tables of 4 GiB. Ratios between types are what counts; another machine shifts them, and the search does not time it.
"""

from __future__ import annotations

from recpile.passes.dense_precision import INT8, INT8_STATIC

_NS_A_FLOP = {"fp32": 8.0e-3, "bf16": 2.2e-3, INT8: 1.8e-3, INT8_STATIC: 1.1e-3}
_NS_AN_ID, _NS_A_BYTE = 31.0, 0.17  # 42 ns for a row of 64 bytes, 75 ns for one of 256


def layer_nanoseconds(flops: float, dtype: str) -> float:
    """A layer of so many FLOPs a row."""
    return flops * _NS_A_FLOP[dtype]


def table_nanoseconds(ids: float, row_bytes: int) -> float:
    """So many ids looked up for a row."""
    return ids * (_NS_AN_ID + _NS_A_BYTE * row_bytes)
