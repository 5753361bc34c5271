"""A precision file: the type of each table and dense stage, in YAML.

tables:                     # by name or glob; the first that matches
  item: int4
  "user*": fp16
sizes:                      # of the other tables, by their size in fp32; the first that is reached
  - {at_least: 100MB, type: int4}
  - {at_least: 1MB, type: int8}
default: fp32               # of what is left
dense:                      # stages by name or glob, or one type for all
  "dense*": bf16
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recpile.passes.dense_precision import DensePrecision
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.byte_sizes import parse_bytes
from recpile.pycompiler.yaml_file import read_yaml

_KEYS = ("tables", "sizes", "default", "dense")


@dataclass(frozen=True)
class Precision:
    """The types of tables and of dense stages."""

    tables: TablePrecision
    dense: DensePrecision


def read_precision(path: str | Path) -> Precision:
    """Reads a precision file. ValueError names the file and the entry that is wrong.

    That a name matches a table or a stage is seen when the model is compiled: QuantizeTables and CastDense say so.
    """
    held = read_yaml(path)
    try:
        return _precision(held)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _precision(held: Any) -> Precision:
    if not isinstance(held, dict):
        raise ValueError(f"got {_kind(held)}; use a mapping with {', '.join(_KEYS)}")
    unknown = [key for key in held if key not in _KEYS]
    if unknown:
        raise ValueError(f"got '{unknown[0]}'; use {', '.join(_KEYS)}")
    tables = _types(held.get("tables") or {}, "tables")
    sizes = held.get("sizes") or []
    if not isinstance(sizes, list):
        raise ValueError(f"sizes: got {_kind(sizes)}; use a list of {{at_least: 1MB, type: int8}}")
    default = held.get("default", "fp32")
    dense = held.get("dense", "fp32")
    return Precision(
        TablePrecision(default, tables, tuple(_size_rule(one) for one in sizes)),
        DensePrecision(dense) if isinstance(dense, str) else DensePrecision("fp32", _types(dense, "dense")),
    )


def _types(held: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(held, dict) or not all(isinstance(one, str) for pair in held.items() for one in pair):
        raise ValueError(f"{where}: got {_kind(held)}; use NAME: TYPE, each text")
    return tuple(held.items())


def _size_rule(held: Any) -> tuple[int, str]:
    if not isinstance(held, dict) or set(held) != {"at_least", "type"}:
        raise ValueError(f"sizes: got {held!r}; use {{at_least: 1MB, type: int8}}")
    return parse_bytes(held["at_least"]), str(held["type"])


def _kind(held: object) -> str:
    return "nothing" if held is None else f"a {type(held).__name__}" if not isinstance(held, str) else f"'{held}'"
