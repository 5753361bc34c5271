"""Ratings and splits that the tests of models share: tiny, made up, seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from recpile.models.features import Splits, make_splits
from recpile.models.ratings import Items, Ratings, Users
from recpile.models.synthetic import TINY, generate

Event = tuple[int, int, float, int]  # user, item, stars, seconds
MakeRatings = Callable[[Sequence[Event]], Ratings]


@pytest.fixture
def make_ratings() -> MakeRatings:
    """make_ratings([(user, item, stars, seconds), ...]) over five users and nine items; item 1 has genres 1 and 5."""

    def make(events: Sequence[Event]) -> Ratings:
        user, item, stars, seconds = zip(*events, strict=True)
        users = Users(*(np.array([0, 1, 2, 1, 2, 1]) for _ in range(4)))
        items = Items(np.array([0, *range(1990, 1999)]), np.array([1, 5]), np.array([0, 0, *[2] * 9]))
        return Ratings(
            np.array(user), np.array(item), np.array(stars, dtype=np.float32), np.array(seconds), users, items
        )

    return make


@pytest.fixture(scope="session")
def tiny_ratings() -> Ratings:
    return generate(TINY)


@pytest.fixture(scope="session")
def tiny_splits(tiny_ratings: Ratings) -> Splits:
    return make_splits(tiny_ratings)
