"""The search on one page: measure each table and layer at each type, choose within the budget, verify, repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recpile.passes.base import Pass, run_passes
from recpile.passes.cast_dense import CastDense
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.pipeline import passes
from recpile.passes.quantize_dense import QuantizeDense
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.eval_checks import check_eval_data
from recpile.pycompiler.evaluation.rows import check_enough
from recpile.pycompiler.evaluation.statistics import relative_loss
from recpile.pycompiler.packing import pack
from recpile.pycompiler.precision.cache import Cache
from recpile.pycompiler.precision.choose import (
    PREFERENCES,
    Assignment,
    Front,
    Options,
    Repaired,
    choose,
    reasons,
    repair,
)
from recpile.pycompiler.precision.layers import Layers, precision_of
from recpile.pycompiler.precision.sensitivity import Sensitivity, measure
from recpile.pycompiler.precision.stages import Rows, StagesOnRows
from recpile.pycompiler.quality import EvalData, eager, in_eval_mode, take_rows
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST, InputSchema

FEWEST_ROWS = 300  # to search on, and to verify on
_HELD_OUT_SHARE = 3  # the last third of the calibration rows


@dataclass(frozen=True)
class SearchOptions:
    """budget: the normalized entropy that may be lost, as a share (0.0002 is 0.02 %). held_out: rows to verify the
    whole on; without, the last third of `calibration`. cache: where sensitivities are kept, to resume from. dense: the
    types of layers; None: they are searched too. prefer: "size", or "speed" (precision/time.py)."""

    budget: float
    calibration: EvalData
    cache: Path
    held_out: EvalData | None = None
    dense: DensePrecision | None = None
    extra_passes: tuple[Pass, ...] = ()
    prefer: str = "size"

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise ValueError(f"budget: got {self.budget:g}; use a share of the normalized entropy, such as 0.02%")
        if self.prefer not in PREFERENCES:
            raise ValueError(f"prefer: got '{self.prefer}'; use one of {', '.join(PREFERENCES)}")


@dataclass(frozen=True)
class Found:
    """What the search found. `dense_loss`: what dense types that were not searched cost alone, on the calibration
    rows. `dense`: the types of layers, searched or not."""

    options: Options
    front: Front
    repaired: Repaired
    budget: float
    dense_loss: float
    calibration: EvalData
    held_out: EvalData
    resumed: int
    dense: DensePrecision
    prefer: str = "size"

    @property
    def tables(self) -> TablePrecision:
        rules = tuple((escape(one.name), one.dtype) for one in _of(self.repaired.assignment, "table"))
        return TablePrecision("fp32", rules)

    @property
    def reasons(self) -> dict[str, str]:
        left = self.budget - max(self.dense_loss, 0.0)
        return reasons(self.repaired.assignment, self.options, left, self.repaired.raised, self.prefer)


def search(
    model: nn.Module,
    schema: InputSchema,
    options: SearchOptions,
    progress: Callable[[str], None] = lambda step: None,
    detail: Callable[[str], None] = lambda measurement: None,
) -> Found:
    """Finds a type for every table of `model`. ValueError for data with missing columns or too few rows, or a model
    without a table to choose for; the model is left as it was. `progress` hears of each step, `detail` of each
    measurement of one table at one type."""
    check_eval_data(options.calibration, schema)
    calibration, held_out = options.calibration, options.held_out
    if held_out is None:
        check_enough(calibration, FEWEST_ROWS * _HELD_OUT_SHARE)
        calibration, held_out = split(calibration, schema)
    else:
        check_eval_data(held_out, schema)
    for rows in (calibration, held_out):
        check_enough(rows, FEWEST_ROWS)
    with in_eval_mode(model):
        progress("capture for the search")
        program = run_passes(capture(model, schema, "search"), _passes(options, calibration))
        searched = {t.name: fqn for fqn, t in program.tables.items() if t.given is None}
        layers = Layers(program, calibration, options.prefer == "speed") if options.dense is None else None
        if not searched and not (layers and layers.searched):
            raise ValueError("the model has no table or layer to choose a type for; leave out --precision auto")
        state = {**program.graph.state_dict, **program.graph.constants}
        weights = {name: state[fqn].view(torch.float32) for name, fqn in searched.items()}

        progress("run the calibration rows")
        stages = StagesOnRows(program, calibration)
        dense_loss = relative_loss(stages.labels, _eager(model, schema, calibration), stages.scores())
        progress("measure sensitivities")
        cache = Cache(options.cache, state, {**calibration.inputs, "labels": calibration.labels})
        measured = measure(stages, weights, layers, cache, detail)
        front = choose(measured, options.budget - max(dense_loss, 0.0), options.prefer)
        del stages

        progress("verify the whole on held-out rows")
        whole = StagesOnRows(program, held_out)
        wanted = _eager(model, schema, held_out)

        def loss(assignment: Assignment) -> float:
            tables = _of(assignment, "table")
            replaced = {one.name: Rows(pack(weights[one.name], one.dtype), one.dtype) for one in tables}
            code = layers.code(_layer_types(assignment)) if layers else {}
            return relative_loss(whole.labels, wanted, whole.scores(replaced, code))

        repaired = repair(front.steps[front.chosen], measured, options.budget, loss, options.prefer)
    dense = options.dense or precision_of(_layer_types(repaired.assignment))
    return Found(
        measured,
        front,
        repaired,
        options.budget,
        dense_loss,
        calibration,
        held_out,
        cache.resumed,
        dense,
        options.prefer,
    )


def _passes(options: SearchOptions, calibration: EvalData) -> list[Pass]:
    """All, with the dense types asked for; or, where they are searched, as if some layer were to be smaller."""
    if options.dense is not None:
        return passes(TablePrecision(), options.dense, options.extra_passes, calibration)
    every = passes(TablePrecision(), "bf16", options.extra_passes)
    return [one for one in every if not isinstance(one, (CastDense, QuantizeDense))]


def _of(assignment: Assignment, kind: str) -> list[Sensitivity]:
    return [one for one in assignment.values() if one.kind == kind]


def _layer_types(assignment: Assignment) -> dict[str, str]:
    return {one.name: one.dtype for one in _of(assignment, "layer")}


def split(data: EvalData, schema: InputSchema) -> tuple[EvalData, EvalData]:
    """The rows to search on, and the last third to verify on: the latest, if the rows are in the order of time."""
    rows = len(data.labels)
    at = rows - rows // _HELD_OUT_SHARE

    def part(name: str, start: int, end: int) -> EvalData:
        flat = take_rows(schema, data.inputs, start, end)
        inputs = {n: value.numpy() for n, value in flat.items() if n != CANDIDATE_TO_REQUEST}
        return EvalData(f"{data.name} ({name})", inputs, np.asarray(data.labels)[start:end], data.output)

    return part(f"the first {at:,} rows", 0, at), part(f"the last {rows - at:,} rows", at, rows)


def parse_budget(text: str) -> float:
    """ "0.02%" -> 0.0002. ValueError for anything but a percentage above 0 and below 100."""
    number, sign, rest = text.strip().partition("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = 0.0
    if not sign or rest or not 0 < share < 1:
        raise ValueError(f"--budget: got '{text}'; use a percentage of the normalized entropy, such as 0.02%")
    return share


def _eager(model: nn.Module, schema: InputSchema, data: EvalData) -> np.ndarray:
    index = schema.outputs.index(data.output) if data.output else 0
    found = [eager(model, schema, flat)[index] for flat in data.batches(schema)]
    return torch.cat(found).float().reshape(-1).numpy()
