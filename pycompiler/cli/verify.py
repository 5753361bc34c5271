"""`recpile verify`: compares eager PyTorch, the debug runtime and the C++ engine on the same inputs."""

from __future__ import annotations

import argparse

from rich.table import Table

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.entry import ENTRY_HELP, load_model
from recpile.pycompiler.cli.model_options import ModelOptions, add_checkpoint_options, add_schema_options
from recpile.pycompiler.cli.run import add_input_options, read_inputs
from recpile.pycompiler.verify import verify


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify",
        help="compare eager, the debug runtime and the C++ engine",
        description=__doc__ + " Exits 1 if they differ.",
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--model", metavar="ENTRY", help=ENTRY_HELP + "; without it, eager is left out")
    parser.add_argument("--checkpoint", "-c", metavar="FILE", help="of the model; required with --model")
    add_checkpoint_options(parser)
    add_schema_options(parser)
    add_input_options(parser)
    parser.add_argument(
        "--tolerance", type=float, help="allowed difference from eager (default 1e-5 for an fp32 artifact, else none)"
    )
    parser.add_argument("--no-engine", action="store_true", help="leave the C++ engine out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if bool(options.model) != bool(options.checkpoint):
        raise ValueError("--model and --checkpoint go together: give both, or neither")
    artifact = Artifact(options.artifact)
    model = load_model(options.model, options.checkpoint, ModelOptions.of(options)) if options.model else None
    inputs = read_inputs(options, artifact.manifest)
    steps = verify(artifact, inputs, model, options.tolerance, engine=not options.no_engine)
    table = Table()
    for column in ("what", "against"):
        table.add_column(column)
    for column in ("largest difference", "mean difference", "allowed", ""):
        table.add_column(column, justify="right")
    for step in steps:
        allowed = "any" if step.allowed is None else f"{step.allowed:g}"
        table.add_row(
            step.name,
            step.against,
            f"{step.parity.max:.3g}",
            f"{step.parity.mean:.3g}",
            allowed,
            "ok" if step.ok else "DIFFERS",
        )
    make_console().print(table)
    return 0 if all(step.ok for step in steps) else 1
