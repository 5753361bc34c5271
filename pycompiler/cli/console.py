"""The terminal that commands print to."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDTH_OF_A_LOG = 120


def make_console() -> Console:
    """Plain text, nothing in it taken for markup: shapes are full of brackets. A log has no width of its own."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_LOG)
