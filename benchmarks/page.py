"""Tables that benchmarks write into pages of docs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def renew_table(page: Path, name: str, lines: Sequence[str]) -> None:
    """Puts `lines` between the page's comments `<!-- begin NAME -->` and `<!-- end NAME -->`, for what is there.

    ValueError: the page has no such place; it is left as it is.
    """
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page} has no place for '{name}'; give it the lines '{begin.strip()}' and '{end}'")
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")
