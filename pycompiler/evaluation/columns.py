"""Tables of rows as files: one column an input, read from parquet or CSV.

A dense input `x` is the column `x`; of shape (n,) its cells are lists. A jagged input `x`, and each key `k` of a keyed
jagged input `x`, is a column of lists of ids, called `x` or `x.k` (or `k` alone); with weights, another called the same
and `.weights`. In CSV a list is written with spaces between: `3 17 4`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recpile.pycompiler.schema import DTYPES

Columns = dict[str, Sequence[Any]]


def read_columns(path: Path) -> Columns:
    """Columns by name. ValueError for a file that is neither, ImportError without the package that reads parquet."""
    return {".csv": _csv, ".parquet": _parquet}[path.suffix](path)


def flat_inputs(columns: Columns, inputs: list[dict], source: str) -> dict[str, np.ndarray]:
    """The flat inputs of a manifest's `inputs`. ValueError names every column that is missing, or one that is wrong."""
    wanted = {name: _column_of(name, columns) for one in inputs for name in _names(one)}
    missing = [name for name, column in wanted.items() if column is None]
    if missing:
        raise ValueError(f"{source} has no column {', '.join(missing)}; it has {', '.join(columns)}")
    flat: dict[str, np.ndarray] = {}
    for one in inputs:
        types = [np.dtype(str(DTYPES[spec["dtype"]]).removeprefix("torch.")) for spec in one["tensors"]]
        if one["kind"] == "dense":
            flat[one["name"]] = _dense(
                columns[str(wanted[one["name"]])], one["tensors"][0]["shape"], types[0], one["name"], source
            )
            continue
        keyed = one["kind"] == "keyed_jagged"
        names = _names(one)
        keys = len(one["keys"]) if keyed else 1
        bags = [_bags(columns[str(wanted[name])], types[0], name, source) for name in names[:keys]]
        lengths = np.stack([length for _, length in bags]).astype(types[1])
        flat[f"{one['name']}.values"] = np.concatenate([ids for ids, _ in bags])
        flat[f"{one['name']}.lengths"] = lengths if keyed else lengths[0]
        if len(types) == 3:
            weights = [_bags(columns[str(wanted[name])], types[2], name, source)[0] for name in names[keys:]]
            flat[f"{one['name']}.weights"] = np.concatenate(weights)
    return flat


def _names(one: dict) -> list[str]:
    if one["kind"] == "dense":
        return [one["name"]]
    ids = [f"{one['name']}.{key}" for key in one["keys"]] if one["kind"] == "keyed_jagged" else [one["name"]]
    return ids + ([f"{name}.weights" for name in ids] if len(one["tensors"]) == 3 else [])


def _column_of(name: str, columns: Columns) -> str | None:
    short = name.partition(".")[2]
    return name if name in columns else short if short and short != "weights" and short in columns else None


def _dense(cells: Sequence[Any], shape: list, dtype: np.dtype, name: str, source: str) -> np.ndarray:
    rows = [
        _parsed(cell, lambda text: float(text) if dtype.kind == "f" else int(text), name, i, source)
        for i, cell in enumerate(cells)
    ]
    size = int(np.prod(shape[1:], dtype=np.int64))
    wrong = next((i for i, row in enumerate(rows) if len(row) != size), None)
    if wrong is not None:
        raise ValueError(f"{source}, row {wrong + 1}: '{name}' has {len(rows[wrong])} values; expected {size}")
    return np.asarray(rows, dtype=dtype).reshape(len(rows), *shape[1:])


def _bags(cells: Sequence[Any], dtype: np.dtype, name: str, source: str) -> tuple[np.ndarray, np.ndarray]:
    convert = float if dtype.kind == "f" else int
    rows = [_parsed(cell, convert, name, i, source) for i, cell in enumerate(cells)]
    return np.asarray([one for row in rows for one in row], dtype=dtype), np.asarray([len(row) for row in rows])


def _parsed(cell: Any, convert: Callable[[Any], float], name: str, row: int, source: str) -> list[float]:
    parts = (
        cell.split() if isinstance(cell, str) else [] if cell is None else cell if isinstance(cell, list) else [cell]
    )
    try:
        return [convert(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{source}, row {row + 1}: '{name}' holds {cell!r}; use numbers, with spaces between"
        ) from error


def _csv(path: Path) -> Columns:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = list(reader)
    ragged = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if ragged is not None:
        raise ValueError(f"{path.name}, line {ragged + 2}: {len(rows[ragged])} cells; the header has {len(header)}")
    return dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())


def _parquet(path: Path) -> Columns:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"{path.name}: reading parquet needs pyarrow; pip install 'recpile[parquet]', or use CSV"
        ) from error
    return pyarrow.parquet.read_table(path).to_pydict()
