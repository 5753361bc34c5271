"""Quality of an artifact on labelled rows, through the debug runtime or the C++ engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.evaluation.rows import LabelledRows, check_enough
from recpile.pycompiler.evaluation.statistics import quality_of
from recpile.pycompiler.metrics import check_scores
from recpile.pycompiler.quality import EvalData, take_rows
from recpile.pycompiler.schema import DTYPES, REQUEST, Dense, Input, InputSchema, Jagged, KeyedJagged

RUNTIMES = ("debug", "engine")
Inputs = Mapping[str, np.ndarray]
_ROWS_AT_ONCE = 1024


def evaluate(
    artifact: str | Path,
    rows: LabelledRows | Iterable[tuple[Inputs, np.ndarray]],
    runtime: str = "debug",
    output: str | None = None,
) -> dict:
    """AUC, normalized entropy, log loss and calibration with bootstrap intervals, of all rows and of each segment.

    rows: read_rows(…), or an iterator of (flat inputs of B rows, labels [B] in {0, 1}). runtime: "debug" or "engine".
    output: which one predicts the label (default: the first). ValueError for too few rows or scores that are no
    probabilities, InputError for inputs that the model does not take.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime: got '{runtime}'; use one of {', '.join(RUNTIMES)}")
    opened = Artifact(artifact)
    names = [one["name"] for one in opened.manifest["outputs"]]
    output = output or names[0]
    if output not in names:
        raise ValueError(f"output: got '{output}'; the artifact's are {', '.join(names)}")
    if isinstance(rows, LabelledRows):
        check_enough(rows.data)
    batches = _of_rows(opened.manifest, rows) if isinstance(rows, LabelledRows) else rows
    score = _debug(opened, output) if runtime == "debug" else _engine(opened, output)
    found, labels = [], []
    for inputs, given in batches:
        found.append(score(inputs))
        labels.append(np.asarray(given, dtype=np.float32))
    if not found:
        raise ValueError("the data has no rows")
    scores, wanted = np.concatenate(found), np.concatenate(labels)
    name = rows.data.name if isinstance(rows, LabelledRows) else "the rows given"
    check_enough(EvalData(name, {}, wanted))
    check_scores(scores, output, name)
    report = {"data": name, "runtime": runtime, "output": output, "samples": len(wanted), **quality_of(wanted, scores)}
    if isinstance(rows, LabelledRows) and rows.segments is not None:
        report["segments"] = _by_segment(rows.segments, wanted, scores)
    return report


def schema_of(manifest: dict) -> InputSchema:
    """The input schema that a manifest describes."""
    return InputSchema([_input(one) for one in manifest["inputs"]], [one["name"] for one in manifest["outputs"]])


def _input(one: dict) -> Input:
    types = [DTYPES[spec["dtype"]] for spec in one["tensors"]]
    shapes = [spec["shape"] for spec in one["tensors"]]
    axis = shapes[0][0] if one["kind"] == "dense" else shapes[1][-1]
    if one["kind"] == "dense":
        return Dense(one["name"], tuple(shapes[0][1:]), types[0], axis)
    if one["kind"] == "jagged":
        return Jagged(one["name"], types[0], types[1], len(types) == 3, axis)
    return KeyedJagged(one["name"], one["keys"], types[0], types[1], len(types) == 3, axis)


def _of_rows(manifest: dict, rows: LabelledRows) -> Iterable[tuple[Inputs, np.ndarray]]:
    schema, data = schema_of(manifest), rows.data
    # A request brings one row on the request axis, so with that axis each row is a request.
    size = 1 if any(REQUEST in t.shape for t in schema.tensors()) else _ROWS_AT_ONCE
    for start in range(0, len(data.labels), size):
        end = min(start + size, len(data.labels))
        flat = take_rows(InputSchema(schema.inputs, schema.outputs), data.inputs, start, end)
        sent = {spec.name: flat[spec.name].numpy() for spec in schema.tensors()}
        yield sent, data.labels[start:end]


def _debug(artifact: Artifact, output: str) -> Callable[[Inputs], np.ndarray]:
    runtime = DebugRuntime(artifact)

    def score(inputs: Inputs) -> np.ndarray:
        given = runtime.run({name: torch.as_tensor(value) for name, value in inputs.items()})
        return given[output].float().numpy().reshape(-1)

    return score


def _engine(artifact: Artifact, output: str) -> Callable[[Inputs], np.ndarray]:
    from recpile.runtime_cpp import Engine  # late: the debug runtime works without the extension

    engine = Engine(artifact.path, max_batch_size=_ROWS_AT_ONCE)
    return lambda inputs: engine.infer(inputs)[output].astype(np.float32).reshape(-1)


def _by_segment(segments: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> dict:
    found: dict[str, dict] = {}
    for one in np.unique(segments):
        rows = segments == one
        measured: dict = {"samples": int(rows.sum())}
        if 0 < labels[rows].sum() < rows.sum():  # AUC and entropy need both labels
            measured |= quality_of(labels[rows], scores[rows])
        found[str(one)] = measured
    return found
