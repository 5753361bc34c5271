"""`recpile replay`: sends recorded requests to a server, and reports latency, throughput and answers that differ."""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.recording.read import Recording
from recpile.pycompiler.recording.replay import ReplayOptions, parse_pace, replay
from recpile.pycompiler.recording.report import Measured

_FAILURES_SHOWN = 5


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "replay",
        help="send recorded requests to a server",
        description=__doc__ + " Exits 1 if answers differ or requests fail. See docs/recording.md.",
    )
    parser.add_argument("recording", metavar="FILE", help="that recpile-server --record wrote")
    parser.add_argument("--url", default="localhost:8000", help="HOST:PORT of HTTP (default localhost:8000)")
    parser.add_argument("--pace", default="original", metavar="PACE", help="original, a multiple such as 2x, or max")
    parser.add_argument("--outstanding", type=int, default=256, metavar="N", help="requests under way (default 256)")
    parser.add_argument("--limit", type=int, metavar="N", help="send only the first N requests")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of answers to recorded ones (default 1e-5)")
    parser.add_argument("--timeout-seconds", type=float, default=30.0, metavar="S", help="of an answer (default 30)")
    parser.add_argument(
        "--any-version", action="store_true", help="if the recorded version is not served, ask the newest"
    )
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    chosen = ReplayOptions(
        options.url,
        parse_pace(options.pace),
        options.outstanding,
        options.limit,
        options.tolerance,
        options.any_version,
        options.timeout_seconds,
    )
    recording = Recording(options.recording)
    console = make_console()
    if recording.damage and not options.json:
        console.print(recording.damage, soft_wrap=True)
    with console.status("replay") as status:
        measured = replay(recording, chosen, lambda sent: status.update(f"{sent:,} of {len(recording):,} requests"))
    if options.json:
        print(json.dumps({**measured.as_dict(), "damage": recording.damage}, indent=1))
    else:
        _print(console, measured)
    return 0 if measured.ok else 1


def _print(console: Console, measured: Measured) -> None:
    told = measured.as_dict()
    table = Table()
    for heading in ("ms", *told["latency_ms"]):
        table.add_column(heading, justify="right" if heading != "ms" else "left")
    for name, times in (("latency", told["latency_ms"]), ("sent late by", told["sent_late_ms"])):
        table.add_row(name, *(f"{one:.2f}" for one in times.values()))
    console.print(table)
    console.print(
        f"{told['requests']:,} requests in {told['seconds']:.2f} s: {told['requests_per_second']:,.0f} requests/s"
    )
    console.print(
        f"{told['compared']:,} answers compared: {told['above_tolerance']:,} differ by more than "
        f"{told['tolerance']:g}, the largest difference is {told['largest_difference']:.3g}"
    )
    if told["now_answered"] or told["refused_again"]:
        console.print(
            f"refused when recorded: {told['refused_again']:,} were again, {told['now_answered']:,} were answered"
        )
    for message, count in list(told["failures"].items())[:_FAILURES_SHOWN]:
        console.print(f"{count:,} failed: {message}", soft_wrap=True)
