"""The whole compiler on one page: model -> capture -> passes -> lower -> artifact -> checked artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.writer import write_artifact
from recpile.pycompiler.capture import capture
from recpile.pycompiler.lower import lower
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import EvalData, Parity, check_artifact, measure_quality
from recpile.pycompiler.schema import InputSchema


@dataclass(frozen=True)
class CompileOptions:
    """What the user chose. With `eval_data`, AUC and normalized entropy before and after go into the manifest, and the
    artifact is checked on these rows; without, on random ones."""

    name: str
    version: str = "1"
    tables: TablePrecision = field(default_factory=TablePrecision)
    dense_dtype: str = "fp32"
    eval_data: EvalData | None = None

    def __post_init__(self) -> None:
        for what, got in (("name", self.name), ("version", self.version)):
            if not got or any(c.isspace() or c == "/" for c in got):
                raise ValueError(f"model {what}: got {got!r}; use one word without '/', it becomes part of a URL")


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

    Raises SchemaError, CaptureError, PassError, LowerError or ParityError; `path` is then left as it was.
    """
    model = model.eval()
    progress("capture")
    captured = capture(model, schema, options.name)

    program = run_passes(
        captured, passes(options.tables, options.dense_dtype), before=lambda one: progress(f"pass {one.name}")
    )

    lowered = []
    for stage in program.stages:
        if stage.kind == "compiled":
            progress(f"lower stage {stage.name}")
            lowered.append(lower(stage))

    quality = {}
    if options.eval_data is not None:
        progress("measure quality")
        quality = measure_quality(model, program, options.eval_data)

    progress("write and check the artifact")
    parity = write_artifact(
        path,
        program,
        lowered,
        options.version,
        quality,
        check=lambda written: check_artifact(written, model, program, options.eval_data),
    )
    return Compiled(Path(path), captured, program, quality, parity)
