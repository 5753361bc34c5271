"""`make bench-quantization`: NE lost and bytes of MovieLens' tables in one type for all, and as the search chose."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from page import renew_table

from recpile.models.demo import ENTRY
from recpile.models.train import CALIBRATION, CHECKPOINT, HELD_OUT
from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.capture import capture
from recpile.pycompiler.cli.entry import load_model
from recpile.pycompiler.cli.main import quiet_libraries
from recpile.pycompiler.evaluation.evaluate import evaluate
from recpile.pycompiler.evaluation.rows import LabelledRows
from recpile.pycompiler.evaluation.statistics import quality_of, relative_loss, relative_loss_interval
from recpile.pycompiler.packing import pack, row_bytes
from recpile.pycompiler.precision.stages import Rows, StagesOnRows
from recpile.pycompiler.quality import EvalData

# A type, and whether rows' scales are searched.
_UNIFORM = [
    ("fp32", True),
    ("fp16", True),
    ("int8", True),
    ("int4", False),
    ("int4", True),
    ("int2", False),
    ("int2", True),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("demo-out"), help="where `make demo` wrote its checkpoint")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--budget", default="0.02%")
    parser.add_argument("--docs", type=Path, help="write the table into this file")
    options = parser.parse_args()
    quiet_libraries()
    options.out.mkdir(parents=True, exist_ok=True)
    artifact = options.out / "movielens-auto.pt2"
    _export(options, artifact)
    data = EvalData.load(options.run / HELD_OUT)
    lines = [
        "| tables | bytes | of fp32 | AUC | NE | NE lost |",
        "|---|---:|---:|---:|---:|---|",
        *_uniform(options.run / CHECKPOINT, data),
        *_searched(artifact, data, options.budget),
    ]
    print("\n".join(lines))
    if options.docs:
        renew_table(options.docs, "measured", lines)
    return 0


def _export(options: argparse.Namespace, artifact: Path) -> None:
    command = ["export", ENTRY, "--checkpoint", str(options.run / CHECKPOINT), "--output", str(artifact)]
    command += ["--precision", "auto", "--budget", options.budget, "--calibration", str(options.run / CALIBRATION)]
    command += ["--eval-data", str(options.run / HELD_OUT)]
    print("recpile " + " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", "recpile.pycompiler.cli.main", *command], check=True)


def _uniform(checkpoint: Path, data: EvalData) -> list[str]:
    """A line a type that all tables have, and one a type without the search for scales."""
    model, schema = load_model(ENTRY, str(checkpoint))
    stages = StagesOnRows(run_passes(capture(model, schema, "bench"), passes(TablePrecision(), "fp32")), data)
    weights = {name: rows.packed.view(torch.float32) for name, rows in stages.tables.items()}
    plain, before = sum(w.numel() * 4 for w in weights.values()), stages.scores()
    lines = []
    for dtype, search in _UNIFORM:
        scores = stages.scores({name: Rows(pack(w, dtype, search), dtype) for name, w in weights.items()})
        size = sum(len(w) * row_bytes(dtype, w.shape[1]) for w in weights.values())
        loss = relative_loss(stages.labels, before, scores)
        interval = relative_loss_interval(stages.labels, before, scores)
        name = f"all {dtype}" + ("" if search else ", range spanned")
        lines.append(_line(name, size, plain, quality_of(stages.labels, scores, intervals=False), loss, interval))
    return lines


def _searched(artifact: Path, data: EvalData, budget: str) -> list[str]:
    """The artifact in both runtimes."""
    manifest = Artifact(artifact).manifest
    sizes = [(t["rows"] * t["row_bytes"], t["rows"] * t["dim"] * 4) for t in manifest["tables"]]
    lost = manifest["quality"]["normalized_entropy_loss"]
    size, plain = np.sum(sizes, axis=0)
    lines = []
    for runtime in ("debug", "engine"):
        measured = evaluate(artifact, LabelledRows(data), runtime)
        name = f"searched, budget {budget}, {runtime} runtime"
        lines.append(_line(name, size, plain, measured, lost["relative"], lost["interval"]))
    return lines


def _line(name: str, size: int, plain: int, quality: dict, loss: float, interval: list[float]) -> str:
    low, high = (f"{100 * one:+.3f}" for one in interval)
    return (
        f"| {name} | {size:,} | 1 / {plain / size:.1f} | {quality['auc']:.5f} | {quality['normalized_entropy']:.5f} "
        f"| {100 * loss:+.4f} % ({low} to {high}) |"
    )


if __name__ == "__main__":
    sys.exit(main())
