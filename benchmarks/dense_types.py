"""What each type of dense layers costs in time: one network lowered in every type, run in turn in one process.

A cell is the time of a batch on one thread, and how many times faster that is than fp32; medians over rounds in which
every type runs once. `error` is the largest difference from fp32 of a sigmoid output, over normal inputs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from fusions import Run, loaded
from page import renew_table
from torch import nn
from torch.export.pt2_archive._package import package_pt2

from recpile.passes.base import run_passes
from recpile.passes.dense_precision import DENSE_DTYPES
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.lower import lower
from recpile.pycompiler.schema import Dense, InputSchema

WIDTHS, BATCHES, ROUNDS = (512, 1024, 1024, 256), (1, 16, 128, 512), 25


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        pairs = itertools.pairwise(WIDTHS)
        self.layers = nn.Sequential(*(part for i, o in pairs for part in (nn.Linear(i, o), nn.ReLU())))
        self.out = nn.Linear(WIDTHS[-1], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.out(self.layers(x)))


def compiled(dtype: str, folder: str) -> Run:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).standard_normal((2048, WIDTHS[0]), dtype=np.float32)
    calibration = EvalData("normal", {"x": rows}, np.zeros(len(rows)))
    program = capture(Network().eval(), InputSchema([Dense("x", (WIDTHS[0],))]), "dense")
    (stage,) = run_passes(program, passes(TablePrecision(), dtype, (), calibration)).stages
    path = str(Path(folder) / f"{dtype}.pt2")
    package_pt2(path, aoti_files={"model": list(lower(stage).files)})
    return loaded(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="write the table into this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        runs = {dtype: compiled(dtype, folder) for dtype in DENSE_DTYPES}
        cells: dict[str, list[str]] = {dtype: [] for dtype in runs}
        for batch in BATCHES:
            x = torch.randn(batch, WIDTHS[0])
            taken: dict[str, list[float]] = {dtype: [] for dtype in runs}
            for _ in range(ROUNDS):
                for dtype, run in runs.items():
                    run([x])
                    start = time.thread_time()
                    run([x])
                    taken[dtype].append(time.thread_time() - start)
            plain = statistics.median(taken["fp32"])
            for dtype, times in taken.items():
                one = statistics.median(times)
                cells[dtype].append(f"{one * 1e6:,.0f} us, **{plain / one:.1f}**")
        x = torch.randn(BATCHES[-1], WIDTHS[0])
        wanted = runs["fp32"]([x])[0]
        lines = [f"| type | {' | '.join(f'batch {batch}' for batch in BATCHES)} | error |", "|---" * 6 + "|"]
        for dtype, row in cells.items():
            error = float((runs[dtype]([x])[0] - wanted).abs().max())
            lines.append(f"| `{dtype}` | {' | '.join(row)} | {error:.1g} |")
    print("\n".join(lines))
    if options.docs:
        renew_table(options.docs, "dense types", lines)


if __name__ == "__main__":
    main()
