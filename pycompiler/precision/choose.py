"""Chooses a type for every table and layer: the most bytes, or time, saved for the loss, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recpile.pycompiler.precision.sensitivity import Sensitivity

Options = Mapping[str, Sequence[Sensitivity]]  # by table or layer, the largest type first
Assignment = dict[str, Sensitivity]

_FREE = 1e-12  # a step that costs nothing is still weighed by its bytes


@dataclass(frozen=True)
class Front:
    """Assignments from the largest to the smallest; `chosen` is the index of the one within the budget."""

    steps: tuple[Assignment, ...]
    chosen: int


def bytes_of(assignment: Assignment) -> int:
    return sum(one.bytes for one in assignment.values())


def nanoseconds_of(assignment: Assignment) -> float:
    return sum(one.nanoseconds for one in assignment.values())


# What each step down is to save.
PREFERENCES: dict[str, Callable[[Sensitivity], float]] = {
    "size": lambda one: one.bytes,
    "speed": lambda one: one.nanoseconds,
}


def loss_of(assignment: Assignment) -> float:
    """Losses of tables add up: each moves the scores in a direction of its own."""
    return sum(one.loss for one in assignment.values())


def choose(options: Options, budget: float, prefer: str = "size") -> Front:
    """Greedy: from every table's and layer's largest type on, always the step down that loses least for each byte
    saved; for each nanosecond if `prefer` is "speed".

    The front goes on past the budget, to everything's smallest type, to show what more would cost; steps that the
    budget has no room for are passed over first, for smaller ones that still fit.
    """
    cost = PREFERENCES[prefer]
    now: Assignment = {name: found[0] for name, found in options.items()}
    steps, within = [dict(now)], True
    chosen = 0
    while True:
        down = [one for found in options.values() for one in found if cost(one) < cost(now[one.key])]
        fitting = [one for one in down if loss_of(now | {one.key: one}) <= budget]
        if within and not fitting:
            within, chosen = False, len(steps) - 1
        if not down:
            return Front(tuple(steps), chosen)
        best = min(fitting if within else down, key=lambda one: _price(now[one.key], one, cost))
        now = now | {best.key: best}
        steps.append(dict(now))


def _price(of: Sensitivity, to: Sensitivity, cost: Callable[[Sensitivity], float]) -> tuple[float, float]:
    saved = cost(of) - cost(to)
    return (max(to.loss - of.loss, _FREE) / saved, -saved)


@dataclass(frozen=True)
class Repaired:
    """What was found on held-out rows. `met`: within the budget. `raised`: what was given a larger type, in order."""

    assignment: Assignment
    loss: float
    met: bool
    raised: tuple[str, ...]


def repair(
    start: Assignment,
    options: Options,
    budget: float,
    measure: Callable[[Assignment], float],
    prefer: str = "size",
) -> Repaired:
    """Raises one type after another until `measure` (relative loss of the whole) is within the budget.

    Always the one that gives back most loss for each byte, or nanosecond, that it takes. If nothing is left to raise,
    the assignment of the least loss that was seen.
    """
    cost = PREFERENCES[prefer]
    now, raised = dict(start), []
    loss = measure(now)
    best = (now, loss)
    while loss > budget:
        up = [one for found in options.values() for one in found if cost(one) > cost(now[one.key])]
        if not up:
            return Repaired(*best, met=False, raised=tuple(raised))
        to = max(up, key=lambda one: (now[one.key].loss - one.loss) / (cost(one) - cost(now[one.key])))
        now = now | {to.key: to}
        raised.append(to.key)
        loss = measure(now)
        best = min(best, (now, loss), key=lambda seen: seen[1])
    return Repaired(now, loss, met=True, raised=tuple(raised))


def reasons(
    assignment: Assignment, options: Options, budget: float, raised: Sequence[str] = (), prefer: str = "size"
) -> dict[str, str]:
    """Why each table and layer has its type, in a sentence."""
    cost, best = PREFERENCES[prefer], {"size": "smallest", "speed": "fastest"}[prefer]
    left = budget - loss_of(assignment)
    found = {}
    for name, one in assignment.items():
        smaller = [other for other in options[name] if cost(other) < cost(one)]
        if name in raised:
            found[name] = "raised, as the whole was over the budget"
        elif not smaller:
            found[name] = f"the {best} type that there is for it"
        else:
            more = 100 * (smaller[0].loss - one.loss)
            found[name] = f"{smaller[0].dtype} would add {more:.2g} %; {100 * max(left, 0):.2g} % of the budget is left"
    return found
