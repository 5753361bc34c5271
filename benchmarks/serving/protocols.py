"""What HTTP and gRPC add to a request of one candidate, at the median, over the same request in process. `make
bench-serving` runs it; it takes eight minutes or so, and wants a machine that does nothing else.

Each turn measures all three, one after the other, and what a protocol adds is the difference within a turn: the tables
have the medians of all turns. The instance is pinned to a core, or what is measured is on which of them, seldom equally
fast, it happened to run. `one at a time`: the next request is sent as soon as the last one is answered.

In the first table the load generator never sleeps, in the second it does between requests: then the answer must wake
it, which is in the latency over a protocol, but not in process, where the instance's own thread takes the time.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.run import Options, export, load, parser_of, write_requests
from recpile.pycompiler.server_process import ServerProcess

# Due every 50 us, but dropped while one is on its way.
ONE_AT_A_TIME = ("--rate", "20000", "--max-outstanding", "1")


def turn(options: Options, files: dict[str, Path], targets: dict[str, str], *flags: str) -> dict[str, float]:
    """The median latency in microseconds by protocol, under load as the load generator's `flags` say."""
    more = ("--instances", "1", "--pin", *flags)
    return {kind: load(options, kind, target, files[kind], (), *more)[0]["p50_us"] for kind, target in targets.items()}


def measure(
    options: Options, files: dict[str, Path], targets: dict[str, str], rates: list[int], turns: int, *flags: str
) -> Table:
    """A row for one request at a time, and one for each of the rates in requests/s."""
    table = Table(title=f"One candidate; medians of {turns} turns of {options.seconds:g} s each; p50 in us")
    for column in ("requests/s", "in process", "HTTP", "gRPC", "HTTP adds", "gRPC adds", "in the turns"):
        table.add_column(column, justify="right", no_wrap=True)
    for rate in (None, *rates):
        load_of = ONE_AT_A_TIME if rate is None else ("--rate", str(rate))
        measured = [turn(options, files, targets, *load_of, *flags) for _ in range(turns)]
        medians = [statistics.median(one[kind] for one in measured) for kind in targets]
        http, grpc = ([one[kind] - one["engine"] for one in measured] for kind in ("http", "grpc"))
        table.add_row(
            "one at a time" if rate is None else f"{rate:,}",
            *(f"{median:,.0f}" for median in medians),
            f"{statistics.median(http):+,.0f}",
            f"{statistics.median(grpc):+,.0f}",
            f"{min(grpc):+,.0f} to {max(grpc):+,.0f}",
        )
    return table


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=0.8, help="of load for each figure")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--rates", nargs="+", type=int, default=[200, 500, 1000])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    options = Options(given.out, given.load_program, given.dense, given.seconds)
    artifact = export(options)
    files = write_requests(artifact, given.out, 1)
    console = Console(width=120)
    with ServerProcess(artifact, "--instances", "1", "--pin", "--metrics-port", "off") as server:
        targets = {"engine": str(artifact), "http": server.url, "grpc": server.grpc_url}
        for name, flags in (("never sleeps", ("--never-sleep",)), ("sleeps between requests", ())):
            console.print(f"The load generator {name}:")
            console.print(measure(options, files, targets, given.rates, given.turns, *flags))


if __name__ == "__main__":
    main()
