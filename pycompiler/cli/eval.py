"""`recpile eval`: the quality of an artifact on labelled rows, with bootstrap intervals."""

from __future__ import annotations

import argparse
import json

from rich.table import Table

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.evaluation.evaluate import RUNTIMES, evaluate
from recpile.pycompiler.evaluation.rows import read_rows

_MEASURES = {"auc": "AUC", "normalized_entropy": "NE", "log_loss": "log loss", "calibration": "calibration"}


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("eval", help="measure AUC, NE, log loss and calibration", description=__doc__)
    parser.add_argument("artifact", metavar="ARTIFACT")
    parser.add_argument(
        "--data", required=True, metavar="FILE", help="labelled rows: .npz of flat inputs, .parquet or .csv"
    )
    parser.add_argument("--label", metavar="COLUMN", help="0 or 1 (default: labels, or label)")
    parser.add_argument("--segment", metavar="COLUMN", help="measure the rows of each of its values apart, too")
    parser.add_argument("--target", metavar="NAME", help="the output that predicts the label (default: the first)")
    parser.add_argument("--runtime", default="debug", choices=RUNTIMES, help="debug (Python) or engine (C++)")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    inputs = Artifact(options.artifact, verify_checksums=False).manifest["inputs"]
    rows = read_rows(options.data, inputs, options.label, options.segment)
    report = evaluate(options.artifact, rows, options.runtime, options.target)
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    table = Table(title=f"{options.artifact} on {report['data']}, {report['runtime']} runtime", title_justify="left")
    table.add_column("rows of")
    table.add_column("rows", justify="right")
    for heading in _MEASURES.values():
        table.add_column(f"{heading} (95 % interval)", justify="right")
    for name, one in {"all": report, **report.get("segments", {})}.items():
        table.add_row(name, f"{one['samples']:,}", *(_shown(one, measure) for measure in _MEASURES))
    make_console().print(table)
    return 0


def _shown(measured: dict, name: str) -> str:
    if name not in measured:
        return "one label only"
    between = measured["intervals"][name]
    return f"{measured[name]:.5f}" + (f" ({between[0]:.5f} to {between[1]:.5f})" if between else "")
