"""What each fusion is worth: small models lowered with and without it, run side by side in one process.

    python benchmarks/fusions.py --only Stack       prints the rows of the cases whose name holds "Stack"
    python benchmarks/fusions.py --docs docs/fusions.md     renews the rows in the table there

A cell is the time without the fusion over the time with it: above 1 the fusion is faster. It is the median over rounds
in which both run, in changing order, on one thread; behind it the quartiles, those of the model without the fusion
against itself in the same rounds, and the time without. A fusion is slower where its median lies below the lower
quartile of the model against itself. Exits with 1 if one that is in the pipeline is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
# Where a fusion is judged: in bf16 not on single rows, which every model here answers faster in fp32.
JUDGED = {"fp32": BATCHES, "bf16": BATCHES[1:]}
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


def loaded_in_turn(turn: int, *paths: str) -> list[Run]:
    """All of them loaded, beginning with number `turn`: what is loaded later lies elsewhere in memory."""
    order = [(turn + i) % len(paths) for i in range(len(paths))]
    runs = {i: loaded(paths[i]) for i in order}
    return [runs[i] for i in range(len(paths))]


def seconds(run: Run, given: Sequence[Tensor], times: int) -> float:
    start = time.thread_time()  # of this thread alone: what else the machine runs counts less
    for _ in range(times):
        run(list(given))
    return (time.thread_time() - start) / times


@dataclass(frozen=True)
class Round:
    """Seconds of the model without the fusion, with it, and once more without, loaded a second time."""

    without: float
    with_it: float
    again: float


def measured(runs: Sequence[Run], *given: Tensor) -> list[Round]:
    """`runs`: without the fusion, with it, without it again."""
    times = max(1, int(SAMPLE_SECONDS / min(seconds(runs[0], given, 3), seconds(runs[0], given, 3))))
    found = []
    for i in range(ROUNDS):
        order = [(i + j) % 3 for j in range(3)]  # none is always the first, on caches that another left
        taken = {j: seconds(runs[j], given, times) for j in order}
        found.append(Round(taken[0], taken[1], taken[2]))
    return found


@dataclass(frozen=True)
class Cell:
    rounds: list[Round]

    @property
    def ratios(self) -> list[float]:
        """Lower quartile, median, upper quartile."""
        return statistics.quantiles([one.without / one.with_it for one in self.rounds], n=4)

    @property
    def noise(self) -> list[float]:
        return statistics.quantiles([one.without / one.again for one in self.rounds], n=4)

    @property
    def slower(self) -> bool:
        return self.ratios[1] < self.noise[0]

    def __str__(self) -> str:
        low, middle, high = self.ratios
        itself = f"itself {self.noise[0]:.2f} to {self.noise[2]:.2f}"
        time = f"{statistics.median(one.without for one in self.rounds) * 1e6:,.0f} us"
        return f"**{middle:.2f}** ({low:.2f} to {high:.2f}; {itself}) {time}{', slower' if self.slower else ''}"


def measure(case: Case, folder: str) -> Iterator[tuple[str, bool]]:
    """The rows of a case, one a type; and whether the pipeline has what is slower there."""
    for dtype in DTYPES:
        torch.manual_seed(0)
        plain = compiled(case.model(), case.width, [], dtype, folder)
        torch.manual_seed(0)
        fusion = case.fusion(dtype)
        fused = compiled(
            case.model() if fusion else case.by_hand(), case.width, [fusion] if fusion else [], dtype, folder
        )
        cells = {batch: Cell([]) for batch in BATCHES}
        for i in range(LOADS):
            runs = loaded_in_turn(i, plain, fused, plain)
            for batch in BATCHES:
                cells[batch].rounds.extend(measured(runs, torch.randn(batch, case.width)))
        shown = f"{dtype}, declined" if dtype in case.declined else dtype
        row = " | ".join([f"| {case.name}", shown, *map(str, cells.values())]) + " |"
        wrong = case.in_pipeline(dtype) and any(cells[batch].slower for batch in JUDGED[dtype])
        yield row, wrong


def renew(path: Path, row: str) -> None:
    """Puts the row in place of the one with the same case and type; a new one goes behind the last."""

    def key(line: str) -> list[str]:
        case, *dtype = line.split(" | ")[:2]
        return [case, *(one.partition(",")[0] for one in dtype)]

    lines = path.read_text().splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith("|") and key(line) == key(row)]
    if places:
        lines[places[0]] = row
    else:
        last = max(i for i, line in enumerate(lines) if line.startswith("|"))
        lines.insert(last + 1, row)
    path.write_text("\n".join(lines) + "\n")


def arguments(doc: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, help="a page with the table: its rows are renewed")
    return parser


def report(docs: Path | None, columns: Sequence[str], rows: Callable[[str], Iterator[tuple[str, bool]]]) -> int:
    """Prints a table as it is measured. rows: given a folder, each row, and whether it shows a slowness that may not
    be. The exit code is 1 if one does."""
    torch.set_num_threads(1)
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    slower = False
    with tempfile.TemporaryDirectory() as folder:
        for row, wrong in rows(folder):
            print(row, flush=True)
            slower = slower or wrong
            if docs is not None:
                renew(docs, row)
    return 1 if slower else 0


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    options = parser.parse_args()

    def rows(folder: str) -> Iterator[tuple[str, bool]]:
        for case in CASES:
            if options.only in case.name:
                yield from measure(case, folder)

    return report(options.docs, ["fusion", "type", *(f"batch {batch}" for batch in BATCHES)], rows)


if __name__ == "__main__":
    sys.exit(main())
