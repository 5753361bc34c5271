"""p99 while a model is reloaded, beside p99 just before. `make bench-serving` runs it; it takes two minutes or so.

One open-loop load at a fixed rate, 30 % of what the server can answer, runs throughout. Quiet stretches and reloads
take turns in it, so that whatever else the machine does meets both alike: each reload is held against the quiet stretch
before it, and the median of those ratios counts. A latency counts from the moment a request was due; a request belongs
to a reload if any of its time does, and a reload ends a moment after the new version began to answer.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
from rich.console import Console
from rich.table import Table

from benchmarks.serving.run import Options, export, load, parser_of, write_requests
from recpile.pycompiler.server_process import ServerProcess

# After a switch: the old version drains and is freed, the new one meets its first requests.
SETTLE_SECONDS = 0.3


@dataclass
class Latencies:
    """Of one server: microseconds of the requests of each quiet stretch, and of each reload after it."""

    quiet: list[np.ndarray] = field(default_factory=list)
    reloading: list[np.ndarray] = field(default_factory=list)
    reload_seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def ratios(self) -> list[float]:
        """p99 of each reload over p99 of the stretch before it."""
        return [
            float(np.percentile(during, 99) / np.percentile(before, 99))
            for before, during in zip(self.quiet, self.reloading, strict=True)
        ]


def two_copies(artifact: Path, folder: Path) -> list[Path]:
    """Files to serve by turns: a server reloads what has become another file, whatever is in it. They are on the disk
    when this returns, so that writing them disturbs no stretch."""
    copies = [folder / f"reload-{i}.pt2" for i in range(2)]
    for one in copies:
        one.unlink(missing_ok=True)
        shutil.copy(artifact, one)
    os.sync()
    return copies


def put(file: Path, served: Path) -> None:
    """Makes `served` a second name of `file`, at once and without copying it."""
    new = served.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.hardlink_to(file)
    new.replace(served)


def measure(options: Options, rate: float, rows: int, stretch: float, reloads: int, *flags: str) -> Latencies:
    """Reloads the model `reloads` times, `stretch` quiet seconds before each, under `rate` requests/s over gRPC."""
    artifact = export(options)
    request = write_requests(artifact, options.out, rows)["grpc"]
    served = options.out / "models" / "dlrm" / "1.pt2"
    served.parent.mkdir(parents=True, exist_ok=True)
    copies = two_copies(artifact, options.out)
    put(copies[0], served)
    samples = options.out / "reload-samples.csv"
    spans: list[tuple[float, float]] = []
    repository = ("--model-repository", str(served.parent.parent), "--model-control", "explicit")
    with ServerProcess(None, *repository, "--load-model", "dlrm", *flags) as server:
        client = triton_grpc.InferenceServerClient(server.grpc_url)
        command = [str(options.load_program), "grpc", server.grpc_url, str(request), "--samples", str(samples)]
        command += ["--seconds", "600", "--rate", str(rate)]
        generator = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            time.sleep(2)  # its warm-up
            for i in range(reloads):
                put(copies[(i + 1) % 2], served)
                time.sleep(stretch)
                start = time.monotonic()
                client.load_model("dlrm")
                spans.append((start, time.monotonic()))
                time.sleep(SETTLE_SECONDS)
        finally:
            generator.terminate()  # it writes what it has
            generator.wait()
    return classified(np.loadtxt(samples, delimiter=","), spans, stretch)


def classified(samples: np.ndarray, spans: list[tuple[float, float]], stretch: float) -> Latencies:
    """`samples` as recpile_load writes them: seconds when due, microseconds, whether it was answered."""
    due, latency, ok = samples.T
    end = due + latency / 1e6
    found = Latencies(failed=int((ok == 0).sum()))
    for start, stop in spans:
        before = (due >= start - stretch) & (end < start)
        during = (end >= start) & (due < stop + SETTLE_SECONDS)
        found.quiet.append(latency[before])
        found.reloading.append(latency[during])
        found.reload_seconds.append(stop - start)
    return found


def row(label: str, found: Latencies) -> list[str]:
    cells = [label, f"{statistics.median(found.reload_seconds):.2f}"]
    for parts in (found.quiet, found.reloading):
        cells += [f"{np.percentile(np.concatenate(parts), share) / 1000:.2f}" for share in (50, 99, 99.9)]
    ratios = sorted(found.ratios())
    quarter = len(ratios) // 4
    spread = f"{statistics.median(ratios):.2f} ({ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
    return [*cells, spread, str(found.failed)]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=1, help="candidates a request")
    parser.add_argument("--rate", type=float, help="requests/s [30 %% of what the server answers at most]")
    parser.add_argument("--reloads", type=int, default=10)
    parser.add_argument("--stretch", type=float, default=2.0, help="quiet seconds before each reload")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    options = Options(given.out, given.load_program, given.dense, seconds=3)
    artifact = export(options)
    rate = given.rate
    if rate is None:
        request = write_requests(artifact, given.out, given.rows)["grpc"]
        with ServerProcess(artifact, "--max-queue-size", "100000", "--metrics-port", "off") as server:
            (most,) = load(options, "grpc", server.grpc_url, request, (50_000,))
        rate = round(0.3 * most["answered"] / most["seconds"])
    table = Table(
        title=f"p99 during reloads: {given.rows} candidates, {rate:,.0f} req/s over gRPC, {given.reloads} reloads; ms"
    )
    for column in ("loads at", "s a reload", "p50 before", "p99", "p99.9", "p50 during", "p99", "p99.9"):
        table.add_column(column, justify="right")
    table.add_column("p99 during / before\nmedian (quartiles)", justify="right", no_wrap=True)
    table.add_column("failed", justify="right")
    for nice in (19, 0):
        found = measure(options, rate, given.rows, given.stretch, given.reloads, "--load-nice", str(nice))
        table.add_row(*row(f"nice {nice}", found))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
