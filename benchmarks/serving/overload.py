"""Goodput under overload: answers within their deadline, from well under what the server can do to five times as much.
`make bench-serving` runs it; it takes two minutes or so.

Server and load generator have a core each, and the generator never sleeps: where the two are hardware threads of one
core, the server would else have the less of it the more it is sent. A request brings its deadline as its timeout; an
answer counts if it is there by then, from the moment the request was due. The generator has so many connections; where
all are busy it drops what is due, and says so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.run import Options, export, load, write_requests
from recpile.pycompiler.server_process import ServerProcess

SHARES = (0.5, 0.8, 1.0, 1.2, 2.0, 5.0)


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


def sweep(options: Options, kind: str, rows: int, deadline_us: int, connections: int, table: Table) -> None:
    """One row for each rate; the rates are shares of what is answered when far more is sent."""
    artifact = export(options)
    request = write_requests(artifact, options.out, rows, deadline_us)[kind]
    endless = write_requests(artifact, options.out / "endless", rows)[kind]
    limits = ("--deadline-us", str(deadline_us), "--connections", str(connections))
    limits += ("--max-outstanding", str(connections), "--never-sleep")
    with on_core(0):
        server = ServerProcess(artifact, "--instances", "1", "--metrics-port", "off")
        server.__enter__()
    try:
        target = server.url if kind == "http" else server.grpc_url
        with on_core(1):
            (most,) = load(
                options,
                kind,
                target,
                endless,
                (100_000,),
                "--connections",
                "64",
                "--max-outstanding",
                "256",
                "--never-sleep",
            )
            capacity = most["answered"] / most["seconds"]
            best = 0.0
            for share in SHARES:
                before = cpu_seconds(server.process.pid)
                (one,) = load(options, kind, target, request, (round(capacity * share),), *limits)
                used = cpu_seconds(server.process.pid) - before
                goodput = one["in_time"] / one["seconds"]
                best = max(best, goodput)
                late = one["answered"] - one["in_time"]
                table.add_row(
                    f"{kind}, {rows}",
                    f"{share:.1f}",
                    f"{capacity * share:,.0f}",
                    f"{goodput:,.0f}",
                    f"{goodput / best:.0%}",
                    f"{late / max(one['answered'], 1):.1%}",
                    f"{one['failed']:,}",
                    f"{one['dropped']:,}",
                    f"{one['p50_us'] / 1000:.1f}",
                    f"{one['p99_us'] / 1000:.1f}",
                    f"{used / one['seconds']:.0%}",
                )
    finally:
        server.stop()
    table.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load_program", type=Path, help="recpile_load, which `make bench-serving` builds")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--dense", choices=["fp32", "bf16"], default="bf16", help="type of the dense layers")
    parser.add_argument("--seconds", type=float, default=3, help="of load for each rate")
    parser.add_argument("--deadline-ms", type=float, default=50)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--kind", nargs="+", choices=["http", "grpc"], default=["http", "grpc"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 200])
    given = parser.parse_args()
    (given.out / "endless").mkdir(parents=True, exist_ok=True)
    options = Options(given.out, given.load_program, given.dense, given.seconds)
    table = Table(title=f"Goodput, deadline {given.deadline_ms:g} ms, {given.connections} connections; latencies in ms")
    for column in ("over, candidates", "sent / capacity", "sent/s", "in time/s", "of the best", "late", "refused"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("dropped", "p50", "p99", "server's core"):
        table.add_column(column, justify="right", no_wrap=True)
    for rows in given.rows:
        for kind in given.kind:
            sweep(options, kind, rows, round(given.deadline_ms * 1000), given.connections, table)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
