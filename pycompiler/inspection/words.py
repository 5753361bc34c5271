"""Numbers, shapes and costs as people read them; the terminal and the page say them alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from recpile.pycompiler.inspection.lookup_cost import LookupCost

_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def number(value: float) -> str:
    """1234 -> "1,234", 4710000 -> "4.71 M"."""
    for step, letter in _STEPS:
        if abs(value) >= step:
            return f"{value / (1e3 if letter == 'k' else step):.3g} {letter}"
    return f"{value:,.4g}" if value != int(value) else f"{int(value):,}"


def shape(spec: Mapping) -> str:
    return f"{spec['dtype']}[{', '.join(str(size) for size in spec['shape'])}]"


def precision(stage: dict) -> str:
    """A compiled stage's type; where layers differ, how many have which: "2 bf16, 1 fp32"."""
    if stage["precision"] != "mixed":
        return stage["precision"]
    types = Counter(layer["dtype"] for layer in stage["layers"])
    return ", ".join(f"{times} {dtype}" for dtype, times in types.items())


def count(how_many: int, what: str) -> str:
    """1 -> "1 table", 4 -> "4 tables"."""
    return f"{how_many:,} {what}{'s' * (how_many != 1)}"


def per_row(cost: Mapping[str, float]) -> str:
    """What one more on each axis adds, candidates first: "340 a candidate + 16 an id of 'sparse'"; "0" for nothing."""
    order = sorted(cost, key=lambda axis: axis != "candidate")
    return " + ".join(f"{number(cost[axis])} {_one_of(axis)}" for axis in order if axis != "fixed") or "0"


def per_candidate(cost: Mapping[str, float]) -> str:
    """per_row for a column that says "a candidate" at its head: "5,569"."""
    return per_row(cost).replace(f" {_one_of('candidate')}", "")


def _one_of(axis: str) -> str:
    return f"an id of '{axis.removesuffix('.nnz')}'" if axis.endswith(".nnz") else f"a {axis}"


def fixed(cost: Mapping[str, float]) -> str:
    return number(cost.get("fixed", 0))


def lookup_bytes(cost: LookupCost) -> str:
    """ "320 a bag + 136 an id", or with the range where tables differ."""
    each = sorted({read.bytes_per_id for read in cost.tables})
    span = number(each[0]) if len(each) == 1 else f"{number(each[0])} to {number(each[-1])}"
    return f"{number(cost.bytes_per_bag)} a bag + {span} an id"
