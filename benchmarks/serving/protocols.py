"""What HTTP and gRPC add to a request of one candidate, at the median, over the same request in process. `make
bench-serving` runs it; it takes five minutes or so, and wants a machine that does nothing else.

Each turn measures all three, one after the other, and what a protocol adds is the difference within a turn: the table
has the medians of all turns. `one at a time`: the next request is sent as soon as the last one is answered. At low
rates processors fall asleep between requests, and to wake them, twice more often than in process, takes the longest.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.serving.run import Options, export, load, parser_of, write_requests
from recpile.pycompiler.server_process import ServerProcess

# Due every 50 us, but dropped while one is on its way.
ONE_AT_A_TIME = ("--max-outstanding", "1")
OFTEN = 20_000


def turn(options: Options, files: dict[str, Path], targets: dict[str, str], rate: int | None) -> dict[str, float]:
    """The median latency in microseconds by protocol; rate: requests/s, or one at a time."""
    more = ONE_AT_A_TIME if rate is None else ()
    return {
        kind: load(options, kind, target, files[kind], (rate or OFTEN,), "--instances", "1", *more)[0]["p50_us"]
        for kind, target in targets.items()
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load for each figure")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rates", nargs="+", type=int, default=[200, 500, 1000])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    options = Options(given.out, given.load_program, given.dense, given.seconds)
    artifact = export(options)
    files = write_requests(artifact, given.out, 1)

    table = Table(title=f"One candidate; medians of {given.turns} turns of {given.seconds:g} s each; p50 in us")
    for column in ("requests/s", "in process", "HTTP", "gRPC", "HTTP adds", "gRPC adds", "in the turns"):
        table.add_column(column, justify="right", no_wrap=True)
    with ServerProcess(artifact, "--instances", "1", "--metrics-port", "off") as server:
        targets = {"engine": str(artifact), "http": server.url, "grpc": server.grpc_url}
        for rate in (None, *given.rates):
            turns = [turn(options, files, targets, rate) for _ in range(given.turns)]
            medians = [statistics.median(one[kind] for one in turns) for kind in targets]
            http, grpc = ([one[kind] - one["engine"] for one in turns] for kind in ("http", "grpc"))
            table.add_row(
                "one at a time" if rate is None else f"{rate:,}",
                *(f"{median:,.0f}" for median in medians),
                f"{statistics.median(http):+,.0f}",
                f"{statistics.median(grpc):+,.0f}",
                f"{min(grpc):+,.0f} to {max(grpc):+,.0f}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
