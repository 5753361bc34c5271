"""Checks labelled rows against the schema before anything is compiled: what is missing, misshapen or not a label."""

from __future__ import annotations

import numpy as np
import torch

from recpile.pycompiler.quality import EvalData
from recpile.pycompiler.schema import DTYPE_NAMES, Dense, InputSchema


def check_eval_data(data: EvalData, schema: InputSchema) -> None:
    """ValueError for the first array of `data` that does not fit the model's flat inputs, or is not a label."""
    where = f"evaluation data '{data.name}'"
    rows = _check_labels(where, np.asarray(data.labels))
    if data.output is not None and data.output not in schema.outputs:
        raise ValueError(f"{where}: output '{data.output}' is none of the model's: {', '.join(schema.outputs)}")
    specs = schema.tensors()
    missing = [spec.name for spec in specs if spec.name not in data.inputs]
    if missing:
        raise ValueError(
            f"{where} lacks {', '.join(missing)}; it has {', '.join(data.inputs)}. Give one array for each flat input: "
            f"{', '.join(spec.name for spec in specs)}"
        )
    for spec in specs:
        array = np.asarray(data.inputs[spec.name])
        dtype = _torch_dtype(array)
        if dtype != spec.dtype:
            raise ValueError(f"{where}: '{spec.name}' is {array.dtype}; the model takes {DTYPE_NAMES[spec.dtype]}")
        # Every row is a request of its own, so each named axis has as many rows as there are labels; nnz is free.
        wanted = [rows if isinstance(size, str) and not size.endswith(".nnz") else size for size in spec.shape]
        fits = len(wanted) == array.ndim and all(
            isinstance(size, str) or size == got for size, got in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            shown = str(["any" if isinstance(size, str) else size for size in wanted]).replace("'", "")
            raise ValueError(f"{where}: '{spec.name}' is {list(array.shape)}; expected {shown} for {rows} labels")
    for one in schema.inputs:
        if not isinstance(one, Dense):
            _check_lengths(where, one.name, data)


def _check_labels(where: str, labels: np.ndarray) -> int:
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"{where}: labels are {list(labels.shape)}; expected [N], one for each row")
    found = np.unique(labels)
    if not np.isin(found, (0, 1)).all():
        shown = ", ".join(f"{one:g}" for one in found[:5]) + (", …" if len(found) > 5 else "")
        raise ValueError(f"{where}: labels are {shown}; expected 0 and 1 (a rating wants a threshold: labels >= 4)")
    if len(found) < 2:
        raise ValueError(f"{where}: all {len(labels)} labels are {found[0]:g}; AUC needs both 0 and 1")
    return len(labels)


def _check_lengths(where: str, name: str, data: EvalData) -> None:
    lengths, values = np.asarray(data.inputs[f"{name}.lengths"]), np.asarray(data.inputs[f"{name}.values"])
    if (lengths < 0).any():
        raise ValueError(f"{where}: '{name}.lengths' holds {int(lengths.min())}; lengths are 0 or more")
    if int(lengths.sum()) != len(values):
        raise ValueError(
            f"{where}: '{name}.lengths' sums to {int(lengths.sum())}; '{name}.values' has {len(values)} ids"
        )


def _torch_dtype(array: np.ndarray) -> torch.dtype | None:
    try:
        return torch.from_numpy(array[:0] if array.ndim else array).dtype
    except TypeError:  # text, objects
        return None
