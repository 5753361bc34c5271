"""Chooses a type for every table: the most bytes saved for the loss, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recpile.pycompiler.precision.sensitivity import Sensitivity

Options = Mapping[str, Sequence[Sensitivity]]  # by table, the largest type first
Assignment = dict[str, Sensitivity]

_FREE = 1e-12  # a step that costs nothing is still weighed by its bytes


@dataclass(frozen=True)
class Front:
    """Assignments from the largest to the smallest; `chosen` is the index of the one within the budget."""

    steps: tuple[Assignment, ...]
    chosen: int


def bytes_of(assignment: Assignment) -> int:
    return sum(one.bytes for one in assignment.values())


def loss_of(assignment: Assignment) -> float:
    """Losses of tables add up: each moves the scores in a direction of its own."""
    return sum(one.loss for one in assignment.values())


def choose(options: Options, budget: float) -> Front:
    """Greedy: from every table's largest type on, always the step down that loses least for each byte saved.

    The front goes on past the budget, to every table's smallest type, to show what more would cost; steps that the
    budget has no room for are passed over first, for smaller ones that still fit.
    """
    now: Assignment = {name: found[0] for name, found in options.items()}
    steps, within = [dict(now)], True
    chosen = 0
    while True:
        down = [one for found in options.values() for one in found if one.bytes < now[one.table].bytes]
        fitting = [one for one in down if loss_of(now | {one.table: one}) <= budget]
        if within and not fitting:
            within, chosen = False, len(steps) - 1
        if not down:
            return Front(tuple(steps), chosen)
        best = min(fitting if within else down, key=lambda one: _price(now[one.table], one))
        now = now | {best.table: best}
        steps.append(dict(now))


def _price(of: Sensitivity, to: Sensitivity) -> tuple[float, int]:
    saved = of.bytes - to.bytes
    return (max(to.loss - of.loss, _FREE) / saved, -saved)


@dataclass(frozen=True)
class Repaired:
    """What was found on held-out rows. `met`: within the budget. `raised`: tables given a larger type, in order."""

    assignment: Assignment
    loss: float
    met: bool
    raised: tuple[str, ...]


def repair(start: Assignment, options: Options, budget: float, measure: Callable[[Assignment], float]) -> Repaired:
    """Raises one table's type after another until `measure` (relative loss of the whole) is within the budget.

    Always the one that gives back most loss for each byte that it takes. If nothing is left to raise, the assignment of
    the least loss that was seen.
    """
    now, raised = dict(start), []
    loss = measure(now)
    best = (now, loss)
    while loss > budget:
        up = [one for found in options.values() for one in found if one.bytes > now[one.table].bytes]
        if not up:
            return Repaired(*best, met=False, raised=tuple(raised))
        to = max(up, key=lambda one: (now[one.table].loss - one.loss) / (one.bytes - now[one.table].bytes))
        now = now | {to.table: to}
        raised.append(to.table)
        loss = measure(now)
        best = min(best, (now, loss), key=lambda seen: seen[1])
    return Repaired(now, loss, met=True, raised=tuple(raised))


def reasons(assignment: Assignment, options: Options, budget: float, raised: Sequence[str] = ()) -> dict[str, str]:
    """Why each table has its type, in a sentence."""
    left = budget - loss_of(assignment)
    found = {}
    for name, one in assignment.items():
        smaller = [other for other in options[name] if other.bytes < one.bytes]
        if name in raised:
            found[name] = "raised, as the whole was over the budget"
        elif not smaller:
            found[name] = "the smallest type that there is for it"
        else:
            more = 100 * (smaller[0].loss - one.loss)
            found[name] = f"{smaller[0].dtype} would add {more:.2g} %; {100 * max(left, 0):.2g} % of the budget is left"
    return found
