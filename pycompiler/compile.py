"""The whole compiler on one page: model -> capture -> passes -> lower -> artifact -> checked artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from recpile.passes.base import Pass, run_passes
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.writer import write_artifact
from recpile.pycompiler.capture import capture
from recpile.pycompiler.eval_checks import check_eval_data
from recpile.pycompiler.exactness import Step, check_steps
from recpile.pycompiler.lower import lower
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import EvalData, Parity, check_artifact, in_eval_mode, measure_quality
from recpile.pycompiler.schema import InputSchema


@dataclass(frozen=True)
class CompileOptions:
    """What the user chose. With `eval_data`, AUC and normalized entropy before and after go into the manifest, and the
    artifact is checked on these rows; without, on random ones. `calibration`: rows that show dense layers in
    int8-static how large their inputs become. `extra_passes` are the user's own, and run on the whole fp32 graph after
    its lookups are batched (docs/custom_pass.md)."""

    name: str
    version: str = "1"
    tables: TablePrecision = field(default_factory=TablePrecision)
    dense_dtype: str | DensePrecision = "fp32"
    eval_data: EvalData | None = None
    calibration: EvalData | None = None
    extra_passes: tuple[Pass, ...] = ()
    precision_search: dict | None = None  # what a search for precisions found, for the manifest

    def __post_init__(self) -> None:
        for what, got in (("name", self.name), ("version", self.version)):
            if not got or any(c.isspace() or c == "/" for c in got):
                raise ValueError(f"model {what}: got {got!r}; use one word without '/', it becomes part of a URL")
        object.__setattr__(self, "extra_passes", tuple(self.extra_passes))
        for one in self.extra_passes:
            if not isinstance(one, Pass):
                raise ValueError(f"extra pass: got {one!r}; use an instance of a class derived from recpile's Pass")


@dataclass(frozen=True)
class Compiled:
    """What compile_model made: the program as captured and as the passes left it, and how far the artifact is from the
    model."""

    path: Path
    captured: Program
    program: Program
    quality: dict
    parity: Parity


def compile_model(
    model: nn.Module,
    schema: InputSchema,
    path: str | Path,
    options: CompileOptions,
    progress: Callable[[str], None] = lambda step: None,
) -> Compiled:
    """Writes the artifact of `model` (weights loaded) to `path`. `progress` hears each step as it begins.

    Raises ValueError (evaluation data), SchemaError, CaptureError, PassError, LowerError or ParityError; `path` is then
    left as it was, and the model always is.
    """
    if options.eval_data is not None:
        check_eval_data(options.eval_data, schema)
    if options.calibration is not None:
        check_eval_data(options.calibration, schema)
    with in_eval_mode(model):
        progress("capture")
        captured = capture(model, schema, options.name)
        steps = [Step("the capture", True, captured)]

        chosen = passes(options.tables, options.dense_dtype, options.extra_passes, options.calibration)
        program = run_passes(
            captured,
            chosen,
            before=lambda one: progress(f"pass {one.name}"),
            after=lambda one, made: steps.append(Step(f"pass {one.name}", one.exact, made)),
        )

        progress("check capture and passes against the model")
        check_steps(model, schema, steps, options.eval_data)

        lowered = []
        for stage in program.stages:
            if stage.kind == "compiled":
                progress(f"lower stage {stage.name}")
                lowered.append(lower(stage))

        quality = {}
        if options.eval_data is not None:
            progress("measure quality")
            quality = measure_quality(model, program, options.eval_data)
        if options.precision_search is not None:
            quality["precision_search"] = options.precision_search

        progress("write and check the artifact")
        exact = all(step.exact for step in steps)
        parity = write_artifact(
            path,
            program,
            lowered,
            options.version,
            quality,
            check=lambda written: check_artifact(written, model, program, options.eval_data, exact),
        )
    return Compiled(Path(path), captured, program, quality, parity)
