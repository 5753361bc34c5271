"""Choosing types for tables: the most bytes for the loss, within a budget; repaired when the whole is over it."""

from __future__ import annotations

import pytest

from recpile.pycompiler.precision.choose import Assignment, bytes_of, choose, loss_of, reasons, repair
from recpile.pycompiler.precision.search import parse_budget
from recpile.pycompiler.precision.sensitivity import Sensitivity


def table(name: str, **losses: tuple[int, float]) -> list[Sensitivity]:
    """dtype=(bytes, loss) from the largest type to the smallest."""
    return [Sensitivity(name, dtype, size, loss, 0.0, loss, 0.0) for dtype, (size, loss) in losses.items()]


OPTIONS = {
    "tough": table("tough", fp32=(100, 0), int8=(25, 1e-6), int4=(12, 2e-6)),
    "tender": table("tender", fp32=(100, 0), int8=(25, 1e-4), int4=(12, 9e-4)),
}


def types(assignment: Assignment) -> dict[str, str]:
    return {name: one.dtype for name, one in assignment.items()}


@pytest.mark.parametrize(
    ("budget", "tough", "tender"),
    [(1e-7, "fp32", "fp32"), (1e-5, "int4", "fp32"), (2e-4, "int4", "int8"), (1e-2, "int4", "int4")],
)
def test_a_table_goes_as_low_as_the_budget_bears(budget: float, tough: str, tender: str) -> None:
    front = choose(OPTIONS, budget)
    assert types(front.steps[front.chosen]) == {"tough": tough, "tender": tender}


def test_bytes_are_bought_where_they_cost_least() -> None:
    options = {
        "large": table("large", fp32=(1000, 0), int8=(250, 6e-5)),
        "small": table("small", fp32=(10, 0), int8=(2, 5e-5)),
    }
    front = choose(options, 1e-4)  # room for one of them
    assert types(front.steps[front.chosen]) == {"large": "int8", "small": "fp32"}


def test_the_front_goes_from_the_largest_to_the_smallest_with_the_choice_between() -> None:
    front = choose(OPTIONS, 2e-4)
    sizes = [bytes_of(one) for one in front.steps]
    assert (sizes[0], sizes[-1]) == (200, 24)
    assert sizes == sorted(sizes, reverse=True)
    assert loss_of(front.steps[front.chosen]) <= 2e-4 < loss_of(front.steps[front.chosen + 1])


def test_a_gain_by_luck_is_no_gain_and_noise_no_loss() -> None:
    lucky = Sensitivity("t", "int8", 10, measured=-3e-3, noise=1e-3, expected=2e-5, hit_error=0.0)
    noisy = Sensitivity("t", "int8", 10, measured=1e-3, noise=1e-3, expected=2e-5, hit_error=0.0)
    sure = Sensitivity("t", "int8", 10, measured=5e-3, noise=1e-3, expected=2e-5, hit_error=0.0)
    assert [lucky.loss, noisy.loss, sure.loss] == pytest.approx([2e-5, 2e-5, 3e-3])


def test_within_the_budget_nothing_is_repaired() -> None:
    front = choose(OPTIONS, 1e-2)
    done = repair(front.steps[front.chosen], OPTIONS, 1e-2, loss_of)
    assert (types(done.assignment), done.raised, done.met) == ({"tough": "int4", "tender": "int4"}, (), True)


def test_over_the_budget_the_table_that_gives_back_most_is_raised_first() -> None:
    front = choose(OPTIONS, 1e-2)
    # Together the tables cost three times what each costs alone.
    done = repair(front.steps[front.chosen], OPTIONS, 1e-3, lambda one: 3 * loss_of(one))
    assert types(done.assignment) == {"tough": "int4", "tender": "int8"}
    assert (done.raised, done.met) == (("tender",), True)
    assert done.loss == pytest.approx(3 * 1.02e-4)
    assert reasons(done.assignment, OPTIONS, 1e-3, done.raised)["tender"] == "raised, as the whole was over the budget"


def test_a_budget_that_cannot_be_met_gives_the_best_that_was_seen() -> None:
    front = choose(OPTIONS, 1e-2)
    done = repair(front.steps[front.chosen], OPTIONS, 1e-3, lambda one: 0.5 + bytes_of(one) / 1e4)
    assert not done.met
    assert done.loss == pytest.approx(0.5 + 24 / 1e4)


def test_reasons_say_what_the_next_type_would_cost() -> None:
    front = choose(OPTIONS, 2e-4)
    why = reasons(front.steps[front.chosen], OPTIONS, 2e-4)
    assert why["tough"] == "the smallest type that there is for it"
    assert why["tender"] == "int4 would add 0.08 %; 0.0098 % of the budget is left"


def test_budgets_are_percentages() -> None:
    assert parse_budget("0.02%") == pytest.approx(2e-4)
    for wrong in ("0.02", "two%", "0%", "-1%", "100%"):
        with pytest.raises(ValueError, match=f"--budget: got '{wrong}'; use a percentage"):
            parse_budget(wrong)
