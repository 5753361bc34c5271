from __future__ import annotations

import numpy as np
import pytest

from recpile.models.ratings import ITEMS, USERS, Ratings
from recpile.models.synthetic import TINY, SyntheticOptions, generate


def test_ratings_have_the_schema_of_movielens(tiny_ratings: Ratings) -> None:
    assert abs(len(tiny_ratings) - TINY.ratings) < 0.15 * TINY.ratings
    assert set(np.unique(tiny_ratings.rating)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert tiny_ratings.user.min() == 1
    assert tiny_ratings.item.min() >= 1
    assert tiny_ratings.rating.dtype == np.float32
    assert tiny_ratings.users.age[0] == tiny_ratings.items.release_year[0] == 0


def test_nobody_rates_an_item_twice(tiny_ratings: Ratings) -> None:
    pairs = np.stack([tiny_ratings.user, tiny_ratings.item], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_the_same_seed_gives_the_same_ratings_and_another_does_not(tiny_ratings: Ratings) -> None:
    again = generate(TINY)
    np.testing.assert_array_equal(again.rating, tiny_ratings.rating)
    np.testing.assert_array_equal(again.timestamp, tiny_ratings.timestamp)
    other = generate(SyntheticOptions(users=150, items=120, ratings=6_000, days=60, tastes=4, seed=1))
    assert len(other) != len(again) or (other.item != again.item).any()


def test_some_ratings_share_their_second_as_in_movielens(tiny_ratings: Ratings) -> None:
    stamps = np.stack([tiny_ratings.user, tiny_ratings.timestamp], axis=1)
    assert len(np.unique(stamps, axis=0)) < 0.9 * len(stamps)


def test_sizes_up_to_those_of_movielens_fit() -> None:
    biggest = generate(SyntheticOptions(users=USERS, items=ITEMS, ratings=10_000))
    assert biggest.user.max() == USERS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": USERS + 1}, f"users: got {USERS + 1}; use 10 to {USERS}"),
        ({"ratings": 10}, "ratings: got 10; use"),
        ({"tastes": 2}, "tastes: got 2; use 3 to 18"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticOptions(**change)
