"""`recpile verify`: the same inputs through eager, the capture, every pass, both runtimes; the first fault is named."""

from __future__ import annotations

import argparse

from rich.table import Table

from recpile.passes.custom import load_pass
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.entry import ENTRY_HELP, load_model
from recpile.pycompiler.cli.model_options import ModelOptions, add_checkpoint_options, add_schema_options
from recpile.pycompiler.cli.precision import read_data
from recpile.pycompiler.cli.run import add_input_options, read_inputs
from recpile.pycompiler.parity.comparison import Comparison
from recpile.pycompiler.verify import VerifyOptions, verify


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify",
        help="compare every form of a model, from eager to the C++ engine",
        description=__doc__ + " Exits 1 if something differs. See docs/debugging.md.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--model", metavar="ENTRY", help=ENTRY_HELP + "; without it, only the runtimes are compared")
    parser.add_argument("--checkpoint", "-c", metavar="FILE", help="of the model; required with --model")
    add_checkpoint_options(parser)
    add_schema_options(parser)
    add_input_options(parser)
    parser.add_argument(
        "--pass",
        dest="passes",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a pass of your own that the artifact was exported with; repeatable",
    )
    parser.add_argument("--calibration", metavar="FILE", help="the rows that layers in int8-static were exported with")
    parser.add_argument(
        "--tolerance", type=float, help="of the last runtime to eager (default 1e-5 for an fp32 artifact, else any)"
    )
    parser.add_argument("--no-engine", action="store_true", help="leave the C++ engine out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if bool(options.model) != bool(options.checkpoint):
        raise ValueError("--model and --checkpoint go together: give both, or neither")
    if (options.passes or options.calibration) and not options.model:
        raise ValueError("--pass and --calibration are for the captured model: give --model and --checkpoint as well")
    artifact = Artifact(options.artifact)
    model = load_model(options.model, options.checkpoint, ModelOptions.of(options)) if options.model else None
    calibration = read_data(options.calibration, model[1]) if options.calibration and model else None
    passes = tuple(map(load_pass, options.passes))
    console = make_console()
    chosen = VerifyOptions(
        options.tolerance, passes, calibration, not options.no_engine, progress=lambda step: console.print(step)
    )
    report = verify(artifact, read_inputs(options, artifact.manifest), model, chosen)
    table = Table()
    for column in ("what", "against"):
        table.add_column(column)
    for column in ("largest difference", "mean difference", "allowed", ""):
        table.add_column(column, justify="right")
    for step in report.steps:
        table.add_row(step.name, step.against, *_numbers(step))
    console.print(table)
    if report.finding:
        console.print(str(report.finding), soft_wrap=True)
    return 0 if report.ok else 1


def _numbers(step: Comparison) -> tuple[str, ...]:
    allowed = "reported" if step.allowed is None else f"{step.allowed:.3g}"
    return f"{step.parity.max:.3g}", f"{step.parity.mean:.3g}", allowed, "ok" if step.ok else "DIFFERS"
