"""docs/coverage.md: a place has the test that passed, or says why there is none, or is empty."""

from __future__ import annotations

import pytest
from coverage_rows import CONSTRUCTS, HOW, NOTHING
from coverage_table import table_lines


def row(construct: str, proofs: dict) -> list[str]:
    (line,) = [one for one in table_lines(proofs) if one.startswith(f"| {construct} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_place_has_its_first_test_by_file_and_name_and_how_many_more_there_are() -> None:
    proofs = {
        ("TorchRec", "sum pooling", "graph"): ["tests/passes/test_b.py::test_two[x]", "tests/a/test_a.py::test_one"]
    }
    shown, *_ = row("sum pooling", proofs)
    assert shown == "`test_one` ([a/test_a.py](../tests/a/test_a.py)) and 1 more"


def test_where_there_is_nothing_to_prove_the_reason_stands_and_elsewhere_the_place_is_empty() -> None:
    assert row("sum pooling", {}) == ["", "", "none: all types and weights sum"]
    assert row("mean pooling", {}) == ["", "", ""]


@pytest.mark.parametrize("place", NOTHING)
def test_the_reasons_are_of_places_in_the_table_and_five_words_at_most(place: tuple[str, str, str]) -> None:
    area, construct, how = place
    assert construct in CONSTRUCTS[area]
    assert how in HOW
    assert 1 < len(NOTHING[place].split()) <= 6
