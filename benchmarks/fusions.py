"""What each fusion is worth: small models lowered with and without it, run side by side in one process.

    python benchmarks/fusions.py --only Stack       prints the rows of the cases whose name holds "Stack"
    python benchmarks/fusions.py --docs docs/fusions.md     renews the rows in the table there

A cell is the time without the fusion over the time with it: above 1 the fusion is faster. It is the median over rounds
in which both run, in changing order, on one thread; behind it the quartiles, and the time without.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from fusion_cases import CASES, Case
from torch import Tensor, nn
from torch._inductor.package import package_aoti

from recpile.passes.base import Pass, run_passes
from recpile.passes.cast_dense import CastDense
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.capture import capture
from recpile.pycompiler.lower import lower
from recpile.pycompiler.schema import Dense, InputSchema

BATCHES = (1, 16, 128, 1024)
DTYPES = ("fp32", "bf16")
# Where weights happen to lie in memory is worth up to 20% in bf16, so both are loaded anew several times.
LOADS = 7
ROUNDS = 7
SAMPLE_SECONDS = 0.003

Run = Callable[[list[Tensor]], list[Tensor]]


class OneInput(nn.Module):
    """Calls its input `x`, as the schema does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def compiled(model: nn.Module, width: int, fusion: Sequence[Pass], dtype: str, folder: str) -> str:
    """The path of the model as a compiled stage."""
    program = capture(OneInput(model).eval(), InputSchema([Dense("x", (width,))], outputs=["score"]), "benchmark")
    program = run_passes(program, [RemoveNoOps(), *fusion, SplitStages(), CastDense(dtype)])
    (stage,) = program.stages
    with tempfile.NamedTemporaryFile(suffix=".pt2", dir=folder, delete=False) as file:
        path = file.name
    package_aoti(path, list(lower(stage).files))
    return path


def loaded(path: str) -> Run:
    return torch._C._aoti.AOTIModelPackageLoader(path, "model", False, 1, -1).boxed_run  # type: ignore[attr-defined]


def seconds(run: Run, x: Tensor, times: int) -> float:
    start = time.thread_time()  # of this thread alone: what else the machine runs counts less
    for _ in range(times):
        run([x])
    return (time.thread_time() - start) / times


def ratios(plain: Run, fused: Run, x: Tensor) -> list[tuple[float, float]]:
    """A round each: time without / time with the fusion, and time without, in seconds."""
    times = max(1, int(SAMPLE_SECONDS / min(seconds(plain, x, 3), seconds(plain, x, 3))))
    found = []
    for i in range(ROUNDS):
        if i % 2:
            with_it, without = seconds(fused, x, times), seconds(plain, x, times)
        else:
            without, with_it = seconds(plain, x, times), seconds(fused, x, times)
        found.append((without / with_it, without))
    return found


def cell(found: list[tuple[float, float]]) -> str:
    low, middle, high = statistics.quantiles([ratio for ratio, _ in found], n=4)
    return f"**{middle:.2f}** ({low:.2f} to {high:.2f}) {statistics.median(one for _, one in found) * 1e6:,.0f} us"


def measure(case: Case, folder: str) -> list[str]:
    """The rows of a case, one a type."""
    rows = []
    for dtype in DTYPES:
        torch.manual_seed(0)
        plain = compiled(case.model(), case.width, [], dtype, folder)
        torch.manual_seed(0)
        model = case.model() if isinstance(case.fused, Pass) else case.fused()
        fused = compiled(model, case.width, [case.fused] if isinstance(case.fused, Pass) else [], dtype, folder)
        found: dict[int, list[tuple[float, float]]] = {batch: [] for batch in BATCHES}
        for _ in range(LOADS):
            a, b = loaded(plain), loaded(fused)
            for batch in BATCHES:
                found[batch] += ratios(a, b, torch.randn(batch, case.width))
        rows.append(" | ".join([f"| {case.name}", dtype, *map(cell, found.values())]) + " |")
        print(rows[-1], flush=True)
    return rows


def renew(path: Path, rows: list[str]) -> None:
    """Puts the rows in place of those with the same first two cells; new ones go behind the last row."""
    lines = path.read_text().splitlines()
    for row in rows:
        key = row.split(" | ")[:2]
        places = [i for i, line in enumerate(lines) if line.split(" | ")[:2] == key]
        if places:
            lines[places[0]] = row
        else:
            last = max(i for i, line in enumerate(lines) if line.startswith("|"))
            lines.insert(last + 1, row)
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--docs", type=Path, help="a page with the table: its rows are renewed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| fusion | type | {' | '.join(f'batch {batch}' for batch in BATCHES)} |")
    print("|---" * (2 + len(BATCHES)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if options.only in case.name:
                rows = measure(case, folder)
                if options.docs is not None:
                    renew(options.docs, rows)


if __name__ == "__main__":
    main()
