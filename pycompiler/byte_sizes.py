"""Sizes as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(text: object) -> int:
    """ "1.5MB" -> 1500000, "2 KiB" -> 2048, a bare number is bytes. ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(text).strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise ValueError(f"size: got '{text}'; use a number and B, KB, MB, GB, KiB, MiB or GiB")
    return int(float(found[1]) * unit)
