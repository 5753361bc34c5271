"""Labelled rows: what quality is measured on, searches calibrate with, and ranges are seen on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST, InputSchema, KeyedJagged

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class EvalData:
    """Labelled rows: flat inputs of N candidates in numpy, labels [N] in {0, 1}, and the output that predicts them."""

    name: str
    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray
    output: str | None = None

    @staticmethod
    def load(path: str | Path) -> EvalData:
        """From a .npz with one array a flat input, and `labels`."""
        with np.load(path) as arrays:
            held = {name: arrays[name] for name in arrays.files}
        if "labels" not in held:
            raise ValueError(f"{path} has arrays {', '.join(held)}; it needs one called 'labels'")
        return EvalData(
            Path(path).name, {name: value for name, value in held.items() if name != "labels"}, held["labels"]
        )

    def batches(self, schema: InputSchema, rows: int = _ROWS_AT_ONCE) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(self.labels), rows):
            yield take_rows(schema, self.inputs, start, min(start + rows, len(self.labels)))


def take_rows(schema: InputSchema, inputs: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, Tensor]:
    """Candidates start..end of flat inputs: rows of dense ones, bags of jagged ones, key by key.

    Every row is a request of its own, as in training data: inputs on the request axis have as many rows.
    """
    flat: dict[str, Tensor] = {}
    if schema.has_requests:
        flat[CANDIDATE_TO_REQUEST] = torch.arange(end - start)
    for one in schema.inputs:
        names = [tensor.name for tensor in one.tensors()]
        if len(names) == 1:
            flat[one.name] = torch.from_numpy(np.ascontiguousarray(inputs[one.name][start:end]))
            continue
        lengths = inputs[f"{one.name}.lengths"]
        ends = np.concatenate([[0], np.cumsum(lengths.reshape(-1))])
        batch = lengths.shape[-1]
        keys = len(one.keys) if isinstance(one, KeyedJagged) else 1
        spans = [slice(ends[k * batch + start], ends[k * batch + end]) for k in range(keys)]
        for name in names:
            if name.endswith(".lengths"):
                flat[name] = torch.from_numpy(np.ascontiguousarray(lengths[..., start:end]))
            else:
                flat[name] = torch.from_numpy(np.concatenate([inputs[name][span] for span in spans]))
    return flat
