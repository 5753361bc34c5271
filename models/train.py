"""`python -m recpile.models.train`: train the example model, compare it with its baseline, write a checkpoint.

Writes into DIR: checkpoint.pt (the state_dict), calibration.npz and held_out.npz (flat inputs and labels of the
Writes into DIR: checkpoint.pt (the state_dict), calibration.npz and held_out.npz (flat inputs and labels of the
was measured).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from recpile.models import movielens, synthetic
from recpile.models.baseline import logistic_regression
from recpile.models.dlrm import MovieLensDLRM
from recpile.models.examples import save_examples
from recpile.models.features import FeatureOptions, Splits, make_splits
from recpile.models.fit import TrainOptions, fit, score
from recpile.models.metrics import Quality, quality
from recpile.models.ratings import Ratings

CHECKPOINT, CALIBRATION, HELD_OUT, REPORT = "checkpoint.pt", "calibration.npz", "held_out.npz", "report.json"


@dataclass(frozen=True)
class TrainReport:
    """Quality of both models on the held-out days, and how the model got there. base_rate: share of liked rows there;
    rows_seen: training rows until the best weights; seconds: training and baseline, without download and features."""

    model: Quality
    baseline: Quality
    baseline_inverse_strength: float
    validation_auc: float
    base_rate: float
    train_rows: int
    validation_rows: int
    held_out_rows: int
    rows_seen: int
    seconds: float
    baseline_seconds: float


def train(splits: Splits, options: TrainOptions, console: Console | None = None) -> tuple[MovieLensDLRM, TrainReport]:
    """Fit the model and the baseline on `splits.train`, measure both on `splits.held_out`.

    Without a console nothing is printed. The model comes back in eval mode.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console, disable=console is None) as progress:
        fitted = fit(splits, options, progress)
        trained = time.perf_counter()
        task = progress.add_task("logistic regression", total=1)
        baseline = logistic_regression(splits)
        progress.advance(task)
    finished = time.perf_counter()
    labels = splits.held_out.labels
    report = TrainReport(
        model=quality(labels, score(fitted.model, splits.held_out)),
        baseline=quality(labels, baseline.scores),
        baseline_inverse_strength=baseline.inverse_strength,
        validation_auc=fitted.validation_auc,
        base_rate=float(labels.mean()),
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        held_out_rows=len(splits.held_out),
        rows_seen=fitted.rows,
        seconds=trained - started,
        baseline_seconds=finished - trained,
    )
    return fitted.model, report


def save_run(folder: Path, model: MovieLensDLRM, splits: Splits, report: TrainReport) -> None:
    """Write CHECKPOINT, CALIBRATION, HELD_OUT and REPORT into `folder`, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / CHECKPOINT)
    save_examples(folder / CALIBRATION, splits.validation)
    save_examples(folder / HELD_OUT, splits.held_out)
    (folder / REPORT).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def load_ratings(data: str, seed: int = 0) -> Ratings:
    """The ratings of "movielens" (downloaded once) or "synthetic". Raises movielens.DataError, ValueError."""
    if data == "movielens":
        return movielens.load(movielens.download())
    if data == "synthetic":
        return synthetic.generate(synthetic.SyntheticOptions(seed=seed))
    raise ValueError(f"got data {data!r}; use movielens or synthetic")


def print_report(report: TrainReport, console: Console) -> None:
    table = Table(title=f"held-out days: {report.held_out_rows:,} ratings, {report.base_rate:.1%} liked")
    for heading in ("", "AUC", "normalized entropy", "seconds"):
        table.add_column(heading, justify="left" if not heading else "right")
    rows = (
        ("DLRM", report.model, report.seconds),
        (f"logistic regression (C={report.baseline_inverse_strength:g})", report.baseline, report.baseline_seconds),
    )
    for name, got, seconds in rows:
        table.add_row(name, f"{got.auc:.4f}", f"{got.normalized_entropy:.4f}", f"{seconds:.1f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    options, data, out = _parse(arguments)
    console = Console()
    # TorchRec asks torch whether it is being traced, and torch warns about the question.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    try:
        if data == "movielens":
            console.print(movielens.TERMS, style="dim", highlight=False)
        splits = make_splits(load_ratings(data, options.seed), FeatureOptions())
    except movielens.DataError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False)
        return 1
    model, report = train(splits, options, console)
    save_run(out, model, splits, report)
    print_report(report, console)
    console.print(f"wrote {CHECKPOINT}, {HELD_OUT} and {REPORT} to {out}")
    return 0


def _parse(arguments: Sequence[str] | None) -> tuple[TrainOptions, str, Path]:
    parser = argparse.ArgumentParser(prog="python -m recpile.models.train", description="Train the example model.")
    parser.add_argument("--data", choices=("movielens", "synthetic"), default="movielens", help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the checkpoint and the report"
    )
    defaults = TrainOptions()
    for field in fields(TrainOptions):
        default = getattr(defaults, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, metavar="N", help="default: %(default)s")
    given = vars(parser.parse_args(arguments))
    data, out = given.pop("data"), given.pop("out")
    try:
        return TrainOptions(**given), data, out
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
