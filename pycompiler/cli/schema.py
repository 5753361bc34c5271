"""`recpile schema`: prints a model's input schema as YAML, as it was given or as it is inferred from example inputs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recpile.pycompiler.cli.entry import ENTRY_HELP, build
from recpile.pycompiler.cli.model_options import ModelOptions, add_schema_options
from recpile.pycompiler.schema_file import format_schema


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("schema", help="print a model's input schema as YAML", description=__doc__)
    parser.add_argument("entry", metavar="ENTRY", help=ENTRY_HELP)
    add_schema_options(parser)
    parser.add_argument("--output", "-o", metavar="FILE", help="write it to this file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    def tell(message: str) -> None:
        print(message, file=sys.stderr)  # so that `recpile schema ENTRY > schema.yaml` is a schema

    chosen = ModelOptions(schema=options.schema, drop_outputs=tuple(options.drop_output))
    text = format_schema(build(options.entry, chosen, tell)[1])
    if options.output:
        Path(options.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0
