"""`recpile inspect`: what an artifact holds."""

from __future__ import annotations

import argparse
import json

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.summary import print_summary


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "inspect", help="show what an artifact holds, also one made for another machine", description=__doc__
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--json", action="store_true", help="print the manifest itself")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    artifact = Artifact(options.artifact, for_this_machine=False)
    if options.json:
        print(json.dumps(artifact.manifest, indent=1))
    else:
        print_summary(make_console(), artifact)
    return 0
