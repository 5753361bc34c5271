"""Labelled rows from a file: .npz of flat inputs, parquet or CSV of one column an input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recpile.pycompiler.evaluation.columns import flat_inputs, read_columns
from recpile.pycompiler.quality import EvalData

FORMATS = (".npz", ".csv", ".parquet")
FEWEST_ROWS = 20


@dataclass(frozen=True)
class LabelledRows:
    """Rows, and the segment that each is of [N], if one was asked for."""

    data: EvalData
    segments: np.ndarray | None = None


def read_rows(
    path: str | Path, inputs: list[dict], label: str | None = None, segment: str | None = None
) -> LabelledRows:
    """Reads the rows of `path` for a model whose manifest has `inputs`.

    `label` names the column of 0 and 1 (default: `labels` or `label`), `segment` the column to tell rows apart by.
    ValueError for a column that is missing or misshapen, and for labels that are not. How many rows are enough is for
    what they are for (check_enough).
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: got a file of type '{path.suffix}'; use {', '.join(FORMATS)}")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
    else:
        columns = read_columns(path)
    label = label or next((name for name in ("labels", "label") if name in columns), "labels")
    for what, name in (("label", label), ("segment", segment)):
        if name is not None and name not in columns:
            raise ValueError(f"{path.name} has no {what} column '{name}'; it has {', '.join(columns)}")
    labels = _labels(columns[label], label, path.name)
    if path.suffix == ".npz":
        wanted = [spec["name"] for one in inputs for spec in one["tensors"]]
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ValueError(f"{path.name} has no array {', '.join(missing)}; it has {', '.join(columns)}")
        flat = {name: np.asarray(columns[name]) for name in wanted}
    else:
        flat = flat_inputs(columns, inputs, path.name)
    segments = None if segment is None else np.asarray([_segment(one) for one in columns[segment]])
    if segments is not None and len(segments) != len(labels):
        raise ValueError(f"{path.name}: segment '{segment}' has {len(segments)} rows, '{label}' has {len(labels)}")
    return LabelledRows(EvalData(path.name, flat, labels), segments)


def check_enough(data: EvalData, fewest: int = FEWEST_ROWS) -> None:
    """ValueError for too few rows, or for labels of one kind only."""
    rows, positive = len(data.labels), int(np.sum(data.labels))
    if rows < fewest:
        raise ValueError(f"{data.name} has {rows} rows; give at least {fewest}: quality of fewer is noise")
    if positive in (0, rows):
        raise ValueError(f"{data.name}: all {rows} labels are {int(positive > 0)}; AUC needs both 0 and 1")


def _labels(column: object, name: str, source: str) -> np.ndarray:
    try:
        labels = np.asarray(column, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: label column '{name}' holds what is no number; use 0 and 1") from error
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"{source}: label column '{name}' holds other values than 0 and 1 (a rating wants a threshold)"
        )
    return labels


def _segment(cell: object) -> str:
    return " ".join(map(str, cell)) if isinstance(cell, (list, np.ndarray)) else str(cell)
