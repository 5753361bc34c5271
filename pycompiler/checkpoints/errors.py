"""The error of everything that reads, matches and loads checkpoints, and how it lists names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MOST_LISTED = 10
# Comparing names is quadratic: beyond this many, hints are left out rather than waited for.
_MOST_COMPARED = 2000


class CheckpointError(ValueError):
    """A checkpoint or a mapping file that cannot be read, or that does not fit the model."""


def listed(items: Sequence[str]) -> str:
    """The first ten, and how many more there are."""
    more = len(items) - MOST_LISTED
    return ", ".join(items[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def quoted(names: Iterable[str]) -> str:
    return listed([f"'{name}'" for name in names])


def nearest(name: str, candidates: Sequence[str], cutoff: float = 0.8) -> str | None:
    """The candidate most like `name`, if any is alike enough."""
    if len(candidates) > _MOST_COMPARED:
        return None
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=cutoff)
    return found[0] if found else None


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
