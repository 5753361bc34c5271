"""Made-up ratings in MovieLens' form, for machines without a network and for tests.

Planted structure: every user has two tastes of several, more likely those of their occupation; every film has one,
which its genres hint at. A rating is the user's mood, the film's appeal, a bonus if the tastes meet, and noise. Which
tastes a user has shows in what they liked before. So a linear model over the ids finds moods and appeals; only a model
that crosses history and item finds the bonus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recpile.models.examples import offsets_of
from recpile.models.ratings import GENRES, ITEMS, OCCUPATIONS, USERS, ZIP_PREFIXES, IntArray, Items, Ratings, Users

_START = 875_000_000  # September 1997, as in MovieLens
_DAY = 86_400
_SECONDS_BETWEEN = 20.0
_SESSION = 40  # ratings in one sitting
_TASTES_A_USER = 2
_TASTE_BONUS, _MOOD, _APPEAL, _NOISE = 1.2, 0.5, 0.5, 0.7


@dataclass(frozen=True)
class SyntheticOptions:
    """Sizes. Ids are 1..users and 1..items; ratings is a target, as nobody rates more than half of the items."""

    users: int = 600
    items: int = 800
    ratings: int = 40_000
    days: int = 120
    tastes: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("users", 10, USERS),
            ("items", 20, ITEMS),
            ("days", 10, 10_000),
            ("tastes", _TASTES_A_USER + 1, len(GENRES) - 1),
            ("seed", 0, 2**32 - 1),
            ("ratings", self.users * 5, self.users * self.items // 2),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"SyntheticOptions.{name}: got {getattr(self, name)}; use {low} to {high}")


# Trains in about two seconds.
TINY = SyntheticOptions(users=150, items=120, ratings=6_000, days=60, tastes=4)


def generate(options: SyntheticOptions | None = None) -> Ratings:
    """Ratings with users and items; the same options give the same arrays."""
    options = options or SyntheticOptions()
    rng = np.random.default_rng(options.seed)
    users, user_tastes = _make_users(options, rng)
    items, item_taste = _make_items(options, rng)

    user, item = _who_rates_what(options, rng)
    mood, appeal = rng.normal(0, _MOOD, options.users + 1), rng.normal(0, _APPEAL, options.items + 1)
    meet = user_tastes[user, item_taste[item]]
    stars = 3.1 + mood[user] + appeal[item] + np.where(meet, _TASTE_BONUS, -_TASTE_BONUS / 2)
    rating = np.clip(np.rint(stars + rng.normal(0, _NOISE, len(user))), 1, 5).astype(np.float32)
    return Ratings(user, item, rating, _timestamps(user, options, rng), users, items)


def _make_users(options: SyntheticOptions, rng: np.random.Generator) -> tuple[Users, np.ndarray]:
    """The table, and which tastes each has: bool [U + 1, tastes]."""
    count = options.users + 1
    occupation = rng.integers(1, len(OCCUPATIONS), count)
    preference = rng.random((count, options.tastes))
    preference[np.arange(count), occupation % options.tastes] += 0.5
    tastes = np.argsort(np.argsort(-preference, axis=1), axis=1) < _TASTES_A_USER
    users = Users(
        age=rng.integers(10, 70, count), gender=rng.integers(1, 3, count), occupation=occupation,
        zip_prefix=rng.integers(1, ZIP_PREFIXES, count),
    )  # fmt: skip
    for column in (users.age, users.gender, users.occupation, users.zip_prefix):
        column[0] = 0
    return users, tastes


def _make_items(options: SyntheticOptions, rng: np.random.Generator) -> tuple[Items, IntArray]:
    """The table, and the taste of each item [I + 1]."""
    count = options.items + 1
    taste = rng.integers(0, options.tastes, count)
    hinted = np.where(rng.random(count) < 0.5, 1 + taste, rng.integers(1, len(GENRES), count))
    other = rng.integers(1, len(GENRES), count)
    lengths = 1 + ((rng.random(count) < 0.5) & (other != hinted)).astype(np.int64)
    lengths[0] = 0
    offsets = offsets_of(lengths)
    genres = np.repeat(hinted, lengths)
    two = lengths == 2
    genres[offsets[1:][two] - 1] = other[two]
    years = rng.integers(1930, 1999, count)
    years[0] = 0
    return Items(years, genres, offsets), taste


def _who_rates_what(options: SyntheticOptions, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Each user rates distinct items, popular ones more often. Users int64 [N], in blocks; items int64 [N]."""
    activity = rng.gamma(2.0, size=options.users)
    shares = options.ratings * activity / activity.sum()
    counts = np.clip(np.rint(shares), 3, options.items // 2 + 1).astype(np.int64)
    popularity = 1.0 / (10 + rng.permutation(options.items))
    popularity /= popularity.sum()
    items = [1 + rng.choice(options.items, count, replace=False, p=popularity) for count in counts]
    return np.repeat(np.arange(1, options.users + 1), counts), np.concatenate(items)


def _timestamps(user: IntArray, options: SyntheticOptions, rng: np.random.Generator) -> IntArray:
    """Users join throughout and rate in sittings some days apart, with several ratings in the same second."""
    joined = rng.uniform(0, options.days - 1, options.users + 1) * _DAY
    place = np.arange(len(user)) - np.searchsorted(user, user)
    gaps = np.where(rng.random(len(user)) < 0.3, 0.0, rng.exponential(_SECONDS_BETWEEN, len(user)))
    sitting_gaps = rng.exponential(options.days / 10 * _DAY, len(user)) * (place % _SESSION == 0) * (place > 0)
    since_start = np.cumsum(gaps + sitting_gaps)
    elapsed = since_start - since_start[np.searchsorted(user, user)]
    # Those who joined late would run past the last day: they come back within it.
    return (_START + np.minimum(joined[user] + elapsed, options.days * _DAY - 1)).astype(np.int64)
