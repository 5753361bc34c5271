"""A model as ONNX: the whole of it in one file where ONNX can say it, and one file a dense stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.passes.write_out_padding import WriteOutPadding
from recpile.pycompiler.onnx.unsupported import Unsupported, unsupported
from recpile.pycompiler.onnx.write import OnnxError, Sample, write
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.quality import eager
from recpile.pycompiler.schema import TensorSpec


@dataclass(frozen=True)
class OnnxFile:
    """One file: what it holds ("the whole model", or a stage's name), and its largest difference from PyTorch."""

    path: Path
    holds: str
    difference: float


@dataclass(frozen=True)
class OnnxExport:
    """What was written, and why not more. `problems` is empty when the whole model was."""

    files: tuple[OnnxFile, ...]
    problems: tuple[str, ...]


def export_onnx(
    model: nn.Module,
    captured: Program,
    path: str | Path,
    inputs: Sequence[Mapping[str, Tensor]],
    stages: bool = True,
) -> OnnxExport:
    """Writes `captured` (as capture() gave it: fp32, not split) to `path`, checked on the flat `inputs` against eager.

    Every dense stage is written too, to `path`'s stem followed by the stage's name, and checked against the same stage
    in PyTorch; embedding stages are not, and neither is what has an operator that ONNX lacks. Without `stages` they
    are written only if the whole cannot be.
    """
    path = Path(path)
    captured = WriteOutPadding().run(captured).program
    missing = unsupported(captured.graph)
    problems = [_said("the whole model", missing)] if missing else []
    files: list[OnnxFile] = []
    if not missing:
        samples = [Sample(flat, eager(model, captured.schema, flat)) for flat in inputs]
        outputs = [TensorSpec(name, torch.float32, ()) for name in captured.schema.outputs]
        try:
            difference = write(captured.graph, captured.schema.graph_tensors(), outputs, path, samples)
            files.append(OnnxFile(path, "the whole model", difference))
        except OnnxError as error:
            problems = [f"the whole model: {error}"]
    if files and not stages:
        return OnnxExport(tuple(files), ())
    split = run_passes(captured, passes(TablePrecision(), "fp32"))
    if files and len(split.stages) == 1:
        return OnnxExport(tuple(files), ())  # the one stage is the whole model
    specs = split.value_specs()
    for stage, samples in _stage_samples(split, inputs):
        missing = unsupported(stage.graph)
        if missing:
            problems.append(_said(f"stage {stage.name}", missing))
            continue
        file = path.with_name(f"{path.stem}-{stage.name}{path.suffix}")
        try:
            difference = write(stage.graph, [specs[name] for name in stage.inputs], stage.outputs, file, samples)
            files.append(OnnxFile(file, f"stage {stage.name}", difference))
        except OnnxError as error:
            problems.append(f"stage {stage.name}: {error}")
    return OnnxExport(tuple(files), tuple(problems))


def _stage_samples(program: Program, inputs: Sequence[Mapping[str, Tensor]]) -> list[tuple[Stage, list[Sample]]]:
    """Each compiled stage, and what flows into and out of it when the program runs on `inputs`."""
    weights = {**program.graph.state_dict, **program.graph.constants}
    tables = {table.name: weights[fqn] for fqn, table in program.tables.items()}
    samples: dict[str, list[Sample]] = {stage.name: [] for stage in program.stages}
    for flat in inputs:
        values = dict(flat)
        for stage in program.stages:
            used = list(dict.fromkeys(f.table for f in stage.lookup.features)) if stage.lookup else []
            taken = {name: values[name] for name in stage.inputs}
            with torch.no_grad():
                given = stage.graph.module(check_guards=False)(*(tables[t] for t in used), *taken.values())
            samples[stage.name].append(Sample(taken, list(given)))
            values.update({spec.name: value for spec, value in zip(stage.outputs, given, strict=True)})
    return [(stage, samples[stage.name]) for stage in program.stages if stage.kind == "compiled"]


def _said(what: str, missing: Sequence[Unsupported]) -> str:
    return f"{what}: ONNX has no " + "; no ".join(str(one) for one in missing)
