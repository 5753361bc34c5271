"""Writes one captured graph as an ONNX file, and runs it in onnxruntime beside what it must equal."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor
from torch.export import ExportedProgram

from recpile.passes.graph import EMBEDDING_BAGS
from recpile.pycompiler.onnx.lookups import OPSET, embedding_bags, repeat_bags
from recpile.pycompiler.schema import TensorSpec

TRANSLATIONS: dict[Any, Any] = {
    EMBEDDING_BAGS: embedding_bags,
    torch.ops.recpile.repeat_bags.default: repeat_bags,
}
# On top of a relative difference as large: a model's outputs need not be probabilities.
TOLERANCE = 1e-5


class OnnxError(RuntimeError):
    """A graph that could not be written as ONNX, or whose file does not compute what the model computes."""


@dataclass(frozen=True)
class Sample:
    """Inputs by name, and the outputs that they must give, in order."""

    inputs: Mapping[str, Tensor]
    outputs: Sequence[Tensor]


def write(
    graph: ExportedProgram,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    path: Path,
    samples: Sequence[Sample],
) -> float:
    """Writes `graph`, which takes `inputs` and gives `outputs` in order, to `path`; returns its largest difference on
    `samples`.

    Weights over 1.5 GiB go into a file of their own beside it, `path` with ".data" appended, because an ONNX file holds
    at most 2 GiB. Nothing is written if the check fails: OnnxError says on which output.
    """
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                graph,
                dynamo=True,
                opset_version=OPSET,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                custom_translation_table=TRANSLATIONS,
                # Its time grows faster than the number of lookups; onnxruntime optimizes again anyway when it loads.
                optimize=False,
                verbose=False,
            )
    except Exception as error:
        raise OnnxError(f"torch.onnx could not translate the graph: {_first_cause(error)}") from error
    assert program is not None
    _name_axes(program.model.graph, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        program.save(scratch / path.name)
        farthest = _check(scratch / path.name, [spec.name for spec in outputs], samples)
        # The data first: a file that refers to data that is not there cannot be opened.
        for file in sorted(scratch.iterdir(), key=lambda one: one.name == path.name):
            os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return farthest


def _check(path: Path, names: Sequence[str], samples: Sequence[Sample]) -> float:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: warnings are about its own optimizations
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    taken = {one.name for one in session.get_inputs()}  # an input that nothing reads may be gone
    farthest = 0.0
    for sample in samples:
        flat = {name: value.numpy() for name, value in sample.inputs.items() if name in taken}
        try:
            given = session.run(list(names), flat)
        except Exception as error:
            raise OnnxError(f"onnxruntime could not run the file: {error}") from error
        for name, got, wanted in zip(names, given, sample.outputs, strict=True):
            got = torch.as_tensor(got)
            if got.shape != wanted.shape:
                raise OnnxError(f"output '{name}' has shape {list(got.shape)} in ONNX; expected {list(wanted.shape)}")
            difference = (got.double() - wanted.double()).abs()
            if not bool((difference <= TOLERANCE * (1 + wanted.double().abs())).all()):
                raise OnnxError(
                    f"output '{name}' differs from the model by {float(difference.max()):.3g} in ONNX (at most "
                    f"{TOLERANCE:g} expected), so it was not written"
                )
            farthest = max(farthest, float(difference.max())) if difference.numel() else farthest
    return farthest


def _name_axes(graph, inputs: Sequence[TensorSpec]) -> None:
    """Gives dynamic sizes the schema's names: "candidate", not "s20"."""
    names = {}
    for spec, value in zip(inputs, graph.inputs, strict=True):
        for size, name in zip(value.shape, spec.shape, strict=True):
            if isinstance(name, str) and not isinstance(size, int):
                names.setdefault(size.value, name)
    for value in (*graph.inputs, *(one for node in graph for one in node.outputs)):
        for i, size in enumerate(value.shape or ()):
            if not isinstance(size, int) and size.value in names:
                value.shape[i] = names[size.value]


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
