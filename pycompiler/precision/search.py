"""The search on one page: measure each table at each type, choose within the budget, verify the whole, repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recpile.passes.base import Pass, run_passes
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.eval_checks import check_eval_data
from recpile.pycompiler.evaluation.rows import check_enough
from recpile.pycompiler.evaluation.statistics import relative_loss
from recpile.pycompiler.packing import pack
from recpile.pycompiler.precision.cache import Cache
from recpile.pycompiler.precision.choose import Assignment, Front, Options, Repaired, choose, reasons, repair
from recpile.pycompiler.precision.sensitivity import measure
from recpile.pycompiler.precision.stages import Rows, StagesOnRows
from recpile.pycompiler.quality import EvalData, eager, in_eval_mode, take_rows
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST, InputSchema

FEWEST_ROWS = 300  # to search on, and to verify on
_HELD_OUT_SHARE = 3  # the last third of the calibration rows


@dataclass(frozen=True)
class SearchOptions:
    """budget: the normalized entropy that may be lost, as a share (0.0002 is 0.02 %). held_out: rows to verify the
    whole on; without, the last third of `calibration`. cache: where sensitivities are kept, to resume from."""

    budget: float
    calibration: EvalData
    cache: Path
    held_out: EvalData | None = None
    dense: DensePrecision = DensePrecision()
    extra_passes: tuple[Pass, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.budget < 1:
            raise ValueError(f"budget: got {self.budget:g}; use a share of the normalized entropy, such as 0.02%")


@dataclass(frozen=True)
class Found:
    """What the search found. `dense_loss`: what the dense types alone cost on the calibration rows."""

    options: Options
    front: Front
    repaired: Repaired
    budget: float
    dense_loss: float
    calibration: EvalData
    held_out: EvalData
    resumed: int

    @property
    def precision(self) -> TablePrecision:
        rules = tuple((escape(name), one.dtype) for name, one in self.repaired.assignment.items())
        return TablePrecision("fp32", rules)

    @property
    def reasons(self) -> dict[str, str]:
        left = self.budget - max(self.dense_loss, 0.0)
        return reasons(self.repaired.assignment, self.options, left, self.repaired.raised)


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
        program = run_passes(
            capture(model, schema, "search"), passes(TablePrecision(), options.dense, options.extra_passes)
        )
        searched = {t.name: fqn for fqn, t in program.tables.items() if t.given is None}
        if not searched:
            raise ValueError("the model has no table to choose a type for; leave out --precision auto")
        state = {**program.graph.state_dict, **program.graph.constants}
        weights = {name: state[fqn].view(torch.float32) for name, fqn in searched.items()}

        progress("run the calibration rows")
        stages = StagesOnRows(program, calibration)
        dense_loss = relative_loss(stages.labels, _eager(model, schema, calibration), stages.scores())
        progress("measure sensitivities")
        cache = Cache(options.cache, state, {**calibration.inputs, "labels": calibration.labels})
        measured = measure(stages, weights, cache, detail)
        front = choose(measured, options.budget - max(dense_loss, 0.0))
        del stages

        progress("verify the whole on held-out rows")
        whole = StagesOnRows(program, held_out)
        wanted = _eager(model, schema, held_out)

        def loss(assignment: Assignment) -> float:
            replaced = {n: Rows(pack(weights[n], one.dtype), one.dtype) for n, one in assignment.items()}
            return relative_loss(whole.labels, wanted, whole.scores(replaced))

        repaired = repair(front.steps[front.chosen], measured, options.budget, loss)
    return Found(measured, front, repaired, options.budget, dense_loss, calibration, held_out, cache.resumed)


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
