"""The features of the example model by name, and each vocabulary's size: constants, so it is built without data.

Id 0 of every key is "unknown": also for users and films that the training split has not seen.
"""

from __future__ import annotations

import numpy as np

from recpile.models.ratings import (
    FIRST_YEAR,
    GENDERS,
    GENRES,
    ITEMS,
    LAST_YEAR,
    OCCUPATIONS,
    USERS,
    ZIP_PREFIXES,
    IntArray,
)

_AGE_BUCKET_YEARS, _AGE_BUCKETS = 5, 15

# Key -> rows of its table. `liked` and `disliked` are the user's last ratings before the event (bags, may be empty);
# `genres` is a bag too. All others hold exactly one id a row.
VOCABULARY: dict[str, int] = {
    "user": USERS + 1,
    "item": ITEMS + 1,
    "liked": ITEMS + 1,
    "disliked": ITEMS + 1,
    "age": _AGE_BUCKETS + 1,
    "gender": len(GENDERS),
    "occupation": len(OCCUPATIONS),
    "zip_prefix": ZIP_PREFIXES,
    "release_year": LAST_YEAR - FIRST_YEAR + 2,
    "genres": len(GENRES),
}
KEYS: tuple[str, ...] = tuple(VOCABULARY)
USER_KEYS = ("user", "age", "gender", "occupation", "zip_prefix")

DENSE: tuple[str, ...] = (
    "user_like_rate",
    "user_mean_rating",
    "user_log_count",
    "user_like_rate_last_3",
    "user_like_rate_last_10",
    "user_log_seconds_since_last",
    "user_log_seconds_since_first",
    "item_like_rate",
    "item_mean_rating",
    "item_log_count",
    "user_age",
    "item_release_year",
)


def age_bucket(years: IntArray) -> IntArray:
    """Ages in years [N] (0 unknown) to ids [N] of the key `age`: five years a bucket, the last one open."""
    return np.where(years > 0, 1 + np.minimum(years // _AGE_BUCKET_YEARS, _AGE_BUCKETS - 1), 0)


def year_id(years: IntArray) -> IntArray:
    """Release years [N] (0 unknown) to ids [N] of the key `release_year`."""
    return np.where(years > 0, 1 + years - FIRST_YEAR, 0)
