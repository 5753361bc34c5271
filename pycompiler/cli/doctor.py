"""`recpile doctor`: whether a model can be served, case by case, and what to change by line of its code."""

from __future__ import annotations

import argparse

from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.diagnosis import print_diagnosis
from recpile.pycompiler.cli.entry import ENTRY_HELP, load_model
from recpile.pycompiler.cli.model_options import ModelOptions, add_checkpoint_options, add_schema_options
from recpile.pycompiler.doctor import diagnose


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "doctor",
        help="prove the captured graph on hard cases, and say what in the model to change",
        description=__doc__ + " Nothing is written. Exits 1 if something is wrong.",
    )
    parser.add_argument("entry", metavar="ENTRY", help=ENTRY_HELP)
    parser.add_argument(
        "--checkpoint", "-c", metavar="FILE", help="of the trained model; without it, the weights are as built"
    )
    add_checkpoint_options(parser)
    add_schema_options(parser)
    add_doctor_options(parser)
    parser.set_defaults(run=run)


def add_doctor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-batch", type=int, default=512, metavar="B", help="the doctor's largest batch of candidates (default 512)"
    )


def run(options: argparse.Namespace) -> int:
    console = make_console()
    with console.status("examine"):
        model, schema = load_model(options.entry, options.checkpoint, ModelOptions.of(options), console.print)
        diagnosis = diagnose(model, schema, options.max_batch)
    print_diagnosis(console, diagnosis)
    return 0 if diagnosis.healthy else 1
