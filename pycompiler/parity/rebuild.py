"""Compiles a model again, up to lowering, with the choices that an artifact records: its parts are compared with it."""

from __future__ import annotations

import glob
from collections.abc import Sequence

from torch import nn

from recpile.passes.base import Pass, PassError, run_passes
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.exactness import Step
from recpile.pycompiler.schema import InputSchema


def rebuild(
    model: nn.Module,
    schema: InputSchema,
    manifest: dict,
    extra: Sequence[Pass] = (),
    calibration: EvalData | None = None,
) -> list[Step]:
    """The capture and every pass in order. `extra`, `calibration`: the passes of the user's own, and the rows for
    layers in int8-static, that the artifact was exported with.

    ValueError if the model cannot be what the artifact was made of, or if a pass of the user's is missing.
    """
    tables, dense = precisions(manifest)
    chosen = passes(tables, dense, extra, calibration)
    known = {one.name for one in chosen}
    missing = list(dict.fromkeys(note["pass_name"] for note in manifest["passes"] if note["pass_name"] not in known))
    if missing:
        raise ValueError(
            f"the artifact was exported with the pass {', '.join(missing)}, which is not recpile's own; give it again "
            "(--pass MODULE:NAME)"
        )
    program = capture(model, schema, manifest["model"]["name"])
    steps = [Step("captured graph", True, program)]
    try:
        run_passes(program, chosen, after=lambda one, made: steps.append(Step(f"pass {one.name}", one.exact, made)))
    except PassError as error:
        raise ValueError(f"the model could not be compiled as the artifact was: {error}") from error
    return steps


def precisions(manifest: dict) -> tuple[TablePrecision, DensePrecision]:
    """The types that an artifact's tables and stages have, each by its name."""
    tables = tuple((glob.escape(table["name"]), table["dtype"]) for table in manifest["tables"])
    compiled = [stage for stage in manifest["stages"] if stage["kind"] == "compiled"]
    layers = [layer for stage in compiled for layer in stage.get("layers", ())]
    # A layer that stayed fp32 needs no rule: nothing is said of it but by the default.
    dense = tuple((glob.escape(layer["name"]), layer["dtype"]) for layer in layers if layer["dtype"] != "fp32")
    return TablePrecision(rules=tables), DensePrecision(rules=tuple(dict.fromkeys(dense)))
