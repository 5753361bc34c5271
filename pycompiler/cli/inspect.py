"""`recpile inspect`: what an artifact holds. Its tables are not read, so a large one is inspected as fast as a small
one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.summary import print_summary


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "inspect", help="show what an artifact holds, also one made for another machine", description=__doc__
    )
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument("--json", action="store_true", help="print the manifest itself")
    parser.add_argument("--svg", metavar="FILE", help="draw the DAG of stages (needs Graphviz's dot)")
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="write a page to open in a browser: the DAG, and what is in each stage (likewise)",
    )
    parser.add_argument("--verify", action="store_true", help="check the checksum of every entry, tables included")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    artifact = Artifact(options.artifact, verify_checksums=options.verify, for_this_machine=False)
    if options.json:
        print(json.dumps(artifact.manifest, indent=1))
    elif not (options.svg or options.html):
        print_summary(make_console(), artifact)
    # Late: a template engine and a drawing that most runs do not need.
    if options.svg:
        from recpile.pycompiler.inspection.dag import draw_dag

        _write(options.svg, draw_dag(artifact.manifest))
    if options.html:
        from recpile.pycompiler.inspection.page import render_page

        size = artifact.path.stat().st_size
        _write(options.html, render_page(artifact.manifest, artifact.stage_graphs(), artifact.path.name, size))
    return 0


def _write(file: str, text: str) -> None:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(path)
