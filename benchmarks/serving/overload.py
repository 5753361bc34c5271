"""Goodput under overload: answers within their deadline, from well under what the server can do to five times as much.
`make bench-serving` runs it; it takes ten minutes or so.

Server and load generator have a core each, and the generator never sleeps: where the two are hardware threads of one
core, the server would else have the less of it the more it is sent. A request brings its deadline as its timeout; an
answer counts if it is there by then, from the moment the request was due. The generator has so many connections; where
all are busy it drops what is due, and says so.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.run import Options, export, load, parser_of, write_requests
from recpile.pycompiler.server_process import ServerProcess


@dataclass(frozen=True)
class Plan:
    """shares: rates, as shares of what the server can do; each round goes through all of them."""

    shares: tuple[float, ...] = (0.5, 0.9, 1.0, 1.2, 2.0, 5.0)
    rounds: int = 5


@dataclass(frozen=True)
class LoadLimits:
    """deadline_us: of a request. connections: over HTTP, and the most requests that are on their way."""

    deadline_us: int
    connections: int

    def flags(self) -> tuple[str, ...]:
        many = str(self.connections)
        deadline = ("--deadline-us", str(self.deadline_us))
        return (*deadline, "--connections", many, "--max-outstanding", many, "--never-sleep")


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started here have this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def capacity_of(options: Options, kind: str, target: str, endless: Path) -> float:
    """Answers a second when far more is sent, and all that is sent is answered some time."""
    limits = ("--connections", "64", "--max-outstanding", "256", "--never-sleep")
    (most,) = load(options, kind, target, endless, (100_000,), *limits)
    return most["answered"] / most["seconds"]


def sweep(options: Options, kind: str, rows: int, limits: LoadLimits, plan: Plan, table: Table) -> None:
    """One row for each rate, the medians of all rounds."""
    artifact = export(options)
    request = write_requests(artifact, options.out, rows, limits.deadline_us)[kind]
    endless = write_requests(artifact, options.out / "endless", rows)[kind]
    with on_core(0):
        server = ServerProcess(artifact, "--instances", "1", "--metrics-port", "off")
        server.__enter__()
    measured: dict[float, list[dict[str, float]]] = {share: [] for share in plan.shares}
    try:
        target = server.url if kind == "http" else server.grpc_url
        with on_core(1):
            capacity = capacity_of(options, kind, target, endless)
            for _ in range(plan.rounds):
                for share in plan.shares:
                    before = cpu_seconds(server.process.pid)
                    (one,) = load(options, kind, target, request, (round(capacity * share),), *limits.flags())
                    one["used"] = cpu_seconds(server.process.pid) - before
                    measured[share].append(figures(one))
    finally:
        server.stop()
    medians = {
        share: {name: statistics.median(one[name] for one in all_rounds) for name in all_rounds[0]}
        for share, all_rounds in measured.items()
    }
    best = max(one["goodput"] for one in medians.values())
    for share, one in medians.items():
        table.add_row(
            f"{kind}, {rows}",
            f"{share:.1f}",
            f"{capacity * share:,.0f}",
            f"{one['goodput']:,.0f}",
            f"{one['goodput'] / best:.0%}",
            f"{one['late']:.1%}",
            f"{one['refused']:,.0f}",
            f"{one['dropped']:,.0f}",
            f"{one['p50']:.1f}",
            f"{one['p99']:.1f}",
            f"{one['core']:.0%}",
        )
    table.add_section()


def figures(one: dict[str, float]) -> dict[str, float]:
    """Of one outcome of the load generator: a second, as shares, and in milliseconds."""
    seconds, answered = one["seconds"], max(one["answered"], 1)
    return {
        "goodput": one["in_time"] / seconds,
        "late": (one["answered"] - one["in_time"]) / answered,
        "refused": one["failed"] / seconds,
        "dropped": one["dropped"] / seconds,
        "p50": one["p50_us"] / 1000,
        "p99": one["p99_us"] / 1000,
        "core": one["used"] / seconds,
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="of load for each rate")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="through all rates; medians are printed")
    parser.add_argument("--shares", nargs="+", type=float, default=Plan.shares, help="rates, of what the server can do")
    parser.add_argument("--deadline-ms", type=float, default=50)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--kind", nargs="+", choices=["http", "grpc"], default=["http", "grpc"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 200])
    given = parser.parse_args()
    (given.out / "endless").mkdir(parents=True, exist_ok=True)
    options = Options(given.out, given.load_program, given.dense, given.seconds)
    plan = Plan(tuple(given.shares), given.rounds)
    limits = LoadLimits(round(given.deadline_ms * 1000), given.connections)
    title = f"Goodput, deadline {given.deadline_ms:g} ms, {given.connections} connections; latencies in ms"
    table = Table(title=f"{title}; medians of {given.rounds} rounds")
    for column in ("over, candidates", "sent / capacity", "sent/s", "in time/s", "of the best", "late", "refused/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("dropped/s", "p50", "p99", "server's core"):
        table.add_column(column, justify="right", no_wrap=True)
    for rows in given.rows:
        for kind in given.kind:
            sweep(options, kind, rows, limits, plan, table)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
