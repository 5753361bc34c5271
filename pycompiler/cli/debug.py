"""`recpile debug`: runs an artifact operator by operator: dump, compare, check, time, stop."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.run import add_input_options, read_inputs
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.debugging.checks import OperatorFault, ValueCheck
from recpile.pycompiler.debugging.describe import told_difference, told_tensor
from recpile.pycompiler.debugging.dumps import FORMATS
from recpile.pycompiler.debugging.session import DebugOptions, DebugReport, debug

_EXAMPLE = """\
examples:
  recpile debug ranker.pt2 --check                       which operator gives the first NaN or Inf?
  recpile debug ranker.pt2 --time 20                     which operators take the time?
  recpile debug old.pt2 --inputs rows.npz --dump before; recpile debug new.pt2 --inputs rows.npz --compare before
  recpile debug ranker.pt2 --break 'dense/sigmoid*'      stop there in Python's debugger
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "debug",
        help="run an artifact operator by operator: dump, compare, check, time, stop",
        description="Runs the exported stages of an artifact operator by operator. Exits 1 if something is wrong or "
        "differs. See docs/debugging.md.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    add_input_options(parser)
    parser.add_argument(
        "--only",
        action="append",
        metavar="GLOB",
        help="dump, compare and check these operators only: by STAGE/NAME, name or operator; repeatable",
    )
    parser.add_argument("--dump", metavar="FOLDER", type=Path, help="write what each operator gives to a new folder")
    parser.add_argument("--dump-format", default="npz", choices=FORMATS, help="of the files (default npz)")
    parser.add_argument("--compare", metavar="FOLDER", type=Path, help="compare with the run that --dump wrote")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of --compare (default 1e-5)")
    parser.add_argument("--check", action="store_true", help="stop at the first operator that gives NaN or Inf")
    parser.add_argument("--low", type=float, help="or a value below this")
    parser.add_argument("--high", type=float, help="or a value above this")
    parser.add_argument("--time", type=int, metavar="N", help="time operators, the median of N runs each")
    parser.add_argument(
        "--break",
        dest="break_at",
        action="append",
        default=[],
        metavar="GLOB",
        help="open Python's debugger behind these operators; repeatable",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.time is not None and options.time < 1:
        raise ValueError(f"--time: got {options.time}; use 1 run or more")
    if not options.tolerance >= 0:
        raise ValueError(f"--tolerance: got {options.tolerance}; use a number that is not negative")
    check = options.check or options.low is not None or options.high is not None
    chosen = DebugOptions(
        only=tuple(options.only) if options.only else None,
        dump=options.dump,
        dump_format=options.dump_format,
        compare=options.compare,
        check=ValueCheck(options.low, options.high) if check else None,
        break_at=tuple(options.break_at),
        repeat=options.time or 1,
    )
    console = make_console()
    runtime = DebugRuntime(Artifact(options.artifact, for_this_machine=False), "exported")
    try:
        report = debug(runtime, read_inputs(options, runtime.manifest), chosen)
    except OperatorFault as fault:
        console.print(str(fault), soft_wrap=True)
        return 1
    if options.time is not None:
        _print_times(console, report)
    if options.dump:
        console.print(f"{options.dump}: what the operators gave", soft_wrap=True)
    ok = _print_differences(console, report, options.tolerance) if options.compare else True
    for name, value in report.outputs.items():
        console.print(f"output {name} {told_tensor(value)}", soft_wrap=True)
    return 0 if ok else 1


def _print_times(console: Console, report: DebugReport) -> None:
    total = sum(one.seconds for one in report.times)
    table = Table(title=f"{total * 1e6:,.0f} us in {len(report.times)} operators", title_justify="left")
    for heading in ("us", "share"):
        table.add_column(heading, justify="right")
    for heading in ("operator", "name", "gives", "source"):
        table.add_column(heading, overflow="fold")
    for one in report.times:
        gives = ", ".join(str(list(output.shape)) for output in one.call.outputs[:3])
        share = f"{100 * one.seconds / total:.1f} %" if total else ""
        told = (one.call.operator, one.call.path, gives, one.call.source.partition(": ")[0])
        table.add_row(f"{one.seconds * 1e6:,.0f}", share, *told)
    console.print(table)


def _print_differences(console: Console, report: DebugReport, tolerance: float) -> bool:
    """Whether all agree; else the first that does not is shown."""
    wrong = [one for one in report.differences if not one.largest <= tolerance]
    console.print(f"{len(report.differences)} operators compared, {len(wrong)} differ by more than {tolerance:g}")
    for call in report.unknown:
        console.print(f"not in the other run: {call}", soft_wrap=True)
    if wrong:
        first = wrong[0]
        console.print(f"first difference: {first.call}", soft_wrap=True)
        for wanted, got in zip(first.wanted, first.call.outputs, strict=False):
            console.print(f"  gives {told_tensor(got)}\n  other run {told_tensor(wanted)}", soft_wrap=True)
            if wanted.shape == got.shape:
                console.print(f"  {told_difference(wanted, got)}", soft_wrap=True)
    return not wrong and not report.unknown
