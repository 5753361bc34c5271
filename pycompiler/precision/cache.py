"""Sensitivities measured so far, in a JSON file: a search that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xxhash
from torch import Tensor

_METHOD = 1  # grows when packing or measuring changes, so that old numbers are not taken for new


class Cache:
    """Entries of one checkpoint and one set of rows; a file of others is started anew. Written after every entry."""

    def __init__(self, path: Path, weights: Mapping[str, Tensor], rows: Mapping[str, np.ndarray]) -> None:
        self.path = path
        self.key = {
            "method": _METHOD,
            "weights": _hash({name: value.detach().contiguous().numpy() for name, value in weights.items()}),
            "rows": _hash(rows),
        }
        self.measured: dict[str, dict] = {}
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["key"] == self.key:
                self.measured = held["measured"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none yet, or half of one: measuring again is all that is lost
        self.resumed = len(self.measured)

    def get(self, table: str, dtype: str) -> dict | None:
        return self.measured.get(f"{table}={dtype}")

    def put(self, table: str, dtype: str, entry: Mapping) -> None:
        self.measured[f"{table}={dtype}"] = dict(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.part")
        part.write_text(json.dumps({"key": self.key, "measured": self.measured}, indent=1), encoding="utf-8")
        os.replace(part, self.path)


def _hash(arrays: Mapping[str, np.ndarray]) -> str:
    found = xxhash.xxh3_128()
    for name, value in sorted(arrays.items()):
        whole = np.ascontiguousarray(value)
        found.update(f"{name} {whole.dtype} {whole.shape}".encode())
        found.update(whole.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
