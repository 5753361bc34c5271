"""What each pass did and declined, and why: a heading a pass, the same reason said once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.program import Note, Program

_MOST_NAMED = 8


def print_left_out(console: Console, program: Program) -> None:
    """Says which of the model's outputs the artifact does not have, if any."""
    if program.left_out:
        names, kept = (", ".join(f"'{one}'" for one in names) for names in (program.left_out, program.schema.outputs))
        console.print(
            f"left out: the model also returns {names}; the schema's outputs name {kept} alone, and what only the "
            "others need is not in the artifact",
            soft_wrap=True,
        )


def print_explanation(console: Console, log: Sequence[Note]) -> None:
    """In the order in which the passes ran; one line for all subjects that share a reason."""
    for name, notes in groupby(log, key=lambda note: note.pass_name):
        console.print(name)
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=len("  declined"))
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        alike: dict[tuple[bool, str], list[str]] = {}
        for note in notes:
            alike.setdefault((note.did, note.reason), []).append(note.subject)
        for (did, reason), subjects in alike.items():
            table.add_row("  did" if did else "  declined", _named(subjects), reason)
        console.print(table)


def _named(subjects: list[str]) -> str:
    more = len(subjects) - _MOST_NAMED
    return ", ".join(subjects[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
