"""What recording live requests costs: throughput and latency with --record at 1 % and at 100 %, and without.
`make bench-serving` runs it; it takes a minute or two.

Three servers of one artifact run all the time, and only one of them is sent anything at a time. They take turns, round
by round, so that whatever else the machine does meets all alike; the median of the rounds counts. Servers and load
generator have a core each.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.overload import cpu_seconds, on_core
from benchmarks.serving.run import Options, export, load, parser_of, write_requests
from recpile.pycompiler.server_process import ServerProcess

SHARES = {"off": None, "1 %": 0.01, "100 %": 1.0}
# Of what the server without recording answers at most.
UNHURRIED = 0.3


@dataclass
class Rounds:
    """Of one server: a number a round."""

    most: list[float] = field(default_factory=list)  # requests/s, when more are sent
    p50_us: list[float] = field(default_factory=list)  # at the unhurried rate
    p99_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # of the server, a request, at the unhurried rate


@contextmanager
def servers(options: Options, artifact: Path) -> Iterator[dict[str, tuple[ServerProcess, Path]]]:
    """By the share that they record, each with its log; all on the first core."""
    running: dict[str, tuple[ServerProcess, Path]] = {}
    recording = options.out / "benchmark.rec"
    with ExitStack() as stack, on_core(0):
        for label, share in SHARES.items():
            file, log = recording.with_suffix(f".{len(running)}.rec"), options.out / f"recording-{len(running)}.log"
            file.unlink(missing_ok=True)
            stack.callback(file.unlink, missing_ok=True)
            flags = ["--instances", "1", "--metrics-port", "off", "--max-queue-size", "100000"]
            if share is not None:
                flags += ["--record", str(file), "--record-share", str(share), "--record-max-bytes", str(1 << 36)]
            running[label] = stack.enter_context(ServerProcess(artifact, *flags, log=log)), log
        yield running


def measure(options: Options, rows: int, kind: str, rounds: int) -> dict[str, tuple[Rounds, str]]:
    """By the share that is recorded; with each what its recorder said of itself at the end."""
    artifact = export(options)
    request = write_requests(artifact, options.out, rows)[kind]
    found = {label: Rounds() for label in SHARES}
    with servers(options, artifact) as running:
        with on_core(1):
            for _ in range(rounds):
                for label, (server, _) in running.items():
                    target = server.url if kind == "http" else server.grpc_url
                    (one,) = load(options, kind, target, request, (100_000,), "--max-outstanding", "256")
                    found[label].most.append(one["answered"] / one["seconds"])
                rate = max(1, round(UNHURRIED * statistics.median(found["off"].most)))
                for label, (server, _) in running.items():
                    target = server.url if kind == "http" else server.grpc_url
                    before = cpu_seconds(server.process.pid)
                    (one,) = load(options, kind, target, request, (rate,))
                    found[label].p50_us.append(one["p50_us"])
                    found[label].p99_us.append(one["p99_us"])
                    found[label].cpu_us.append(1e6 * (cpu_seconds(server.process.pid) - before) / one["answered"])
        for server, _ in running.values():
            server.stop()
        logs = {label: log.read_text() for label, (_, log) in running.items()}
    said = {label: re.search(r"recorded (\d+) requests in .* (\d+) dropped", text) for label, text in logs.items()}
    return {
        label: (one, "{} / {}".format(*match.groups()) if (match := said[label]) else "")
        for label, one in found.items()
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kind", nargs="+", choices=["http", "grpc"], default=["grpc"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 200])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    options = Options(given.out, given.load_program, given.dense, given.seconds)
    table = Table(title=f"Recording; medians of {given.rounds} rounds, latencies at {UNHURRIED:.0%} of the load, in ms")
    for column in ("over, candidates", "recorded", "answered/s", "of off", "p50", "p99", "server's us a request"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("written / dropped", justify="right", no_wrap=True)
    for rows in given.rows:
        for kind in given.kind:
            measured = measure(options, rows, kind, given.rounds)
            off = statistics.median(measured["off"][0].most)
            for label, (one, written) in measured.items():
                most, p50, p99, cpu = (statistics.median(v) for v in (one.most, one.p50_us, one.p99_us, one.cpu_us))
                cells = [f"{most:,.0f}", f"{most / off:.1%}", f"{p50 / 1000:.2f}", f"{p99 / 1000:.2f}", f"{cpu:,.0f}"]
                table.add_row(f"{kind}, {rows}", label, *cells, written)
            table.add_section()
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
