"""Ratings to examples: split by time, ids, histories and statistics, with nothing from the future in any row.

What a row may see: of its user, every event strictly before it (what a server knows at request time); of its item, the
events of the training split strictly before it (what a nightly job wrote). The label is `rating >= 4`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recpile.models.examples import Examples, gather, offsets_of
from recpile.models.ratings import FloatArray, IntArray, Ratings
from recpile.models.timeline import Timeline, timeline
from recpile.models.vocabulary import DENSE, KEYS, age_bucket, year_id

LIKED_FROM = 4.0
_DAY = 86_400
# As if that many ratings at the prior had been seen first. Constants: a prior fitted on the data would leak a little.
_PRIOR_LIKE_RATE, _PRIOR_RATING = 0.55, 3.5
_USER_PRIOR, _RECENT_PRIOR, _ITEM_PRIOR = 5.0, 2.0, 10.0
_CLIP = 5.0


@dataclass(frozen=True)
class FeatureOptions:
    """history: the most ids in `liked` and in `disliked`. The splits' fractions of the ratings are met to the day."""

    history: int = 50
    train_fraction: float = 0.8
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        if self.history < 1:
            raise ValueError(f"FeatureOptions.history: got {self.history}; use 1 or more")
        if (
            min(self.train_fraction, self.validation_fraction) <= 0
            or self.train_fraction + self.validation_fraction >= 1
        ):
            got = (self.train_fraction, self.validation_fraction)
            raise ValueError(f"FeatureOptions: got fractions {got}; use two above 0 that leave some for held-out days")


@dataclass(frozen=True)
class Splits:
    """Examples by time, each in order of time: train, then validation (for early stopping), then the held-out days.

    validation_from, held_out_from: seconds since 1970; midnights (UTC) at which the later two begin.
    """

    train: Examples
    validation: Examples
    held_out: Examples
    validation_from: int
    held_out_from: int


def make_splits(ratings: Ratings, options: FeatureOptions | None = None) -> Splits:
    """All features of all ratings. Raises ValueError if there are too few days to split."""
    options = options or FeatureOptions()
    validation_from, held_out_from = split_times(ratings.timestamp, options)
    training = ratings.timestamp < validation_from
    by_user = timeline(ratings.user, ratings.timestamp)

    dense = dense_features(ratings, training, by_user)
    mean, deviation = dense[training].mean(axis=0), dense[training].std(axis=0)
    dense = np.clip((dense - mean) / np.maximum(deviation, 1e-6), -_CLIP, _CLIP).astype(np.float32)
    bags = sparse_features(ratings, training, by_user, options.history)
    labels = _liked(ratings).astype(np.float32)

    by_time = np.argsort(ratings.timestamp, kind="stable")
    cuts = np.searchsorted(ratings.timestamp[by_time], (validation_from, held_out_from))
    splits = [_take(dense, bags, labels, rows) for rows in np.split(by_time, cuts)]
    return Splits(*splits, validation_from=validation_from, held_out_from=held_out_from)


def split_times(timestamp: IntArray, options: FeatureOptions) -> tuple[int, int]:
    """The midnights (UTC, seconds) at which validation and held-out days begin."""
    days, counts = np.unique(timestamp // _DAY, return_counts=True)
    share = np.cumsum(counts) / len(timestamp)
    fractions = (options.train_fraction, options.train_fraction + options.validation_fraction)
    last_train, last_validation = (int(np.searchsorted(share, fraction)) for fraction in fractions)
    if not last_train < last_validation < len(days) - 1:
        raise ValueError(
            f"got ratings on {len(days)} days, too few to split at {fractions}; use more days or other fractions"
        )
    return (int(days[last_train]) + 1) * _DAY, (int(days[last_validation]) + 1) * _DAY


def dense_features(ratings: Ratings, training: np.ndarray, by_user: Timeline) -> np.ndarray:
    """Float64 [N, len(DENSE)], not yet standardized; `training` (bool [N]) marks what item statistics may count."""
    likes, ones = _liked(ratings).astype(np.float64), np.ones(len(ratings))
    count = by_user.sum_before(ones)
    like_rate = _smoothed(by_user.sum_before(likes), count, _PRIOR_LIKE_RATE, _USER_PRIOR)

    def recent(last: int) -> np.ndarray:
        seen = by_user.sum_before(ones, last)
        return _smoothed(by_user.sum_before(likes, last), seen, like_rate, _RECENT_PRIOR) - like_rate

    by_item = timeline(ratings.item, ratings.timestamp)
    item_count = by_item.sum_before(ones * training)
    columns: dict[str, np.ndarray] = {
        "user_like_rate": like_rate,
        "user_mean_rating": _smoothed(by_user.sum_before(ratings.rating), count, _PRIOR_RATING, _USER_PRIOR),
        "user_log_count": np.log1p(count),
        "user_like_rate_last_3": recent(3),
        "user_like_rate_last_10": recent(10),
        "user_log_seconds_since_last": np.log1p(by_user.seconds_since(ratings.timestamp, "latest")),
        "user_log_seconds_since_first": np.log1p(by_user.seconds_since(ratings.timestamp, "first")),
        "item_like_rate": _smoothed(by_item.sum_before(likes * training), item_count, _PRIOR_LIKE_RATE, _ITEM_PRIOR),
        "item_mean_rating": _smoothed(
            by_item.sum_before(ratings.rating * training), item_count, _PRIOR_RATING, _ITEM_PRIOR
        ),
        "item_log_count": np.log1p(item_count),
        "user_age": ratings.users.age[ratings.user],
        "item_release_year": np.maximum(ratings.items.release_year[ratings.item], 1),
    }
    return np.stack([columns[name] for name in DENSE], axis=1)


def sparse_features(
    ratings: Ratings, training: np.ndarray, by_user: Timeline, history: int
) -> dict[str, tuple[IntArray, IntArray]]:
    """Values [nnz] and lengths [N] of each of KEYS. Users and items without a row in `training` (bool [N]) get id 0."""
    users, items = ratings.users, ratings.items
    user = np.where(np.isin(ratings.user, ratings.user[training]), ratings.user, 0)
    item = np.where(np.isin(ratings.item, ratings.item[training]), ratings.item, 0)

    def past(chosen: np.ndarray) -> tuple[IntArray, IntArray]:
        rows, starts, ends = by_user.windows_before(chosen, history)
        return gather(item[rows], starts, ends)

    single = {
        "user": user,
        "item": item,
        "age": age_bucket(users.age[ratings.user]),
        "gender": users.gender[ratings.user],
        "occupation": users.occupation[ratings.user],
        "zip_prefix": users.zip_prefix[ratings.user],
        "release_year": year_id(items.release_year[ratings.item]),
    }
    bags = {key: (ids, np.ones(len(ratings), np.int64)) for key, ids in single.items()}
    bags["genres"] = gather(items.genres, items.genre_offsets[ratings.item], items.genre_offsets[ratings.item + 1])
    bags["liked"], bags["disliked"] = past(_liked(ratings)), past(~_liked(ratings))
    return {key: bags[key] for key in KEYS}


def _liked(ratings: Ratings) -> np.ndarray:
    return ratings.rating >= LIKED_FROM


def _smoothed(total: np.ndarray, count: np.ndarray, prior: np.ndarray | float, strength: float) -> np.ndarray:
    return (total + strength * prior) / (count + strength)


def _take(
    dense: FloatArray, bags: dict[str, tuple[IntArray, IntArray]], labels: FloatArray, rows: IntArray
) -> Examples:
    values, offsets = {}, {}
    for key, (ids, lengths) in bags.items():
        ends = np.cumsum(lengths)
        values[key], taken = gather(ids, (ends - lengths)[rows], ends[rows])
        offsets[key] = offsets_of(taken)
    return Examples(dense[rows], values, offsets, labels[rows])
