"""`recpile checkpoint`: shows what of a checkpoint goes where in a model, without loading or exporting it."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.checkpoints.match import Match, Pair
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.entry import ENTRY_HELP, match_checkpoint
from recpile.pycompiler.cli.model_options import ModelOptions, add_checkpoint_options, add_schema_options
from recpile.pycompiler.schema import DTYPE_NAMES

_WIDEST = 10_000


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "checkpoint",
        help="show what of a checkpoint goes where in a model: a dry run",
        description=__doc__ + " Exits 1 if it does not fit.",
    )
    parser.add_argument("entry", metavar="ENTRY", help=ENTRY_HELP)
    parser.add_argument("--checkpoint", "-c", required=True, metavar="PATH", help="of the trained model")
    add_checkpoint_options(parser)
    add_schema_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    console = make_console()

    def tell(message: str) -> None:
        console.print(message, soft_wrap=True, markup=False)

    found = match_checkpoint(options.entry, options.checkpoint, ModelOptions.of(options), tell)
    _print_table(console, found)
    problems, hint = found.problems(), found.hint()
    tell(f"{len(found.pairs)} mapped, {len(found.missing)} missing, {len(found.left_over)} left over")
    for what, names in (("dropped", found.dropped), ("tied", found.tied), ("not needed", found.unused)):
        if names:
            tell(f"{len(names)} {what}")
    for problem in problems:
        tell(problem)
    if hint:
        tell(f"in a mapping file (--checkpoint-mapping), {hint}")
    tell("the checkpoint does not fit the model" if problems else "the checkpoint fits the model")
    return 1 if problems else 0


def _print_table(console: Console, found: Match) -> None:
    table = Table()
    for column in ("checkpoint", "model", "weight", "how"):
        table.add_column(column, overflow="fold")
    for pair in found.pairs:
        table.add_row(pair.source, pair.target, _weight(pair), pair.how or "same name")
    for name, rule in found.dropped:
        table.add_row(name, "", "", f"dropped by {rule}")
    for names, what in (
        (found.tied, "tied to a weight above"),
        (found.unused, "not needed: no output depends on it"),
        (found.missing, "MISSING"),
    ):
        for name in names:
            table.add_row("", name, "", what)
    for name in found.left_over:
        table.add_row(name, "", "", "LEFT OVER")
    if not console.is_terminal:  # names in a log are searched for: none is broken over lines
        wide = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def _weight(pair: Pair) -> str:
    dtype = DTYPE_NAMES.get(pair.spec.dtype, str(pair.spec.dtype))
    return f"{dtype} ({', '.join(map(str, pair.spec.shape))})"
