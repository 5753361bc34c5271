"""What every data source gives: ratings, the users who gave them and the items they are of.

The vocabularies are constants (those of MovieLens-100K), so a model can be built before any data is read. Row 0 of both
tables stands for "unknown"; a user id or item id is a row of its table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]

USERS = 943
ITEMS = 1682
GENDERS = ("unknown", "F", "M")
OCCUPATIONS = (
    "unknown", "administrator", "artist", "doctor", "educator", "engineer", "entertainment", "executive", "healthcare",
    "homemaker", "lawyer", "librarian", "marketing", "none", "other", "programmer", "retired", "salesman", "scientist",
    "student", "technician", "writer",
)  # fmt: skip
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
# 0 unknown, 1..100 the first two digits of a US code, 101 a code that begins with a letter (Canada).
ZIP_PREFIXES = 102
FIRST_YEAR, LAST_YEAR = 1920, 1999


@dataclass(frozen=True)
class Users:
    """Row i is user i; row 0 is the unknown user.

    age: int64 [U], years, 0 unknown. gender, occupation: int64 [U], positions in GENDERS and OCCUPATIONS.
    zip_prefix: int64 [U] in [0, ZIP_PREFIXES).
    """

    age: IntArray
    gender: IntArray
    occupation: IntArray
    zip_prefix: IntArray

    def __post_init__(self) -> None:
        rows = len(self.age)
        for name, high in (("gender", len(GENDERS)), ("occupation", len(OCCUPATIONS)), ("zip_prefix", ZIP_PREFIXES)):
            _check_ids(f"Users.{name}", getattr(self, name), high)
            _check_rows(f"Users.{name}", getattr(self, name), rows)
        if not 2 <= rows <= USERS + 1:
            raise ValueError(f"Users: got {rows} rows; use 2 to {USERS + 1} (row 0 is the unknown user)")


@dataclass(frozen=True)
class Items:
    """Row i is item i; row 0 is the unknown item.

    release_year: int64 [I], 0 unknown. genres: int64 [nnz], positions in GENRES, those of item i at
    genre_offsets[i] .. genre_offsets[i + 1]; genre_offsets: int64 [I + 1].
    """

    release_year: IntArray
    genres: IntArray
    genre_offsets: IntArray

    def __post_init__(self) -> None:
        rows = len(self.release_year)
        if not 2 <= rows <= ITEMS + 1:
            raise ValueError(f"Items: got {rows} rows; use 2 to {ITEMS + 1} (row 0 is the unknown item)")
        _check_ids("Items.genres", self.genres, len(GENRES))
        _check_rows("Items.genre_offsets", self.genre_offsets, rows + 1)
        ends = (int(self.genre_offsets[0]), int(self.genre_offsets[-1]))
        if ends != (0, len(self.genres)) or (np.diff(self.genre_offsets) < 0).any():
            raise ValueError(f"Items.genre_offsets: got ends {ends}; use rising offsets from 0 to {len(self.genres)}")


@dataclass(frozen=True)
class Ratings:
    """N ratings in any order: user, item int64 [N] (rows of the tables), rating float32 [N] (1 to 5 stars),
    timestamp int64 [N] (seconds since 1970, UTC)."""

    user: IntArray
    item: IntArray
    rating: FloatArray
    timestamp: IntArray
    users: Users
    items: Items

    def __post_init__(self) -> None:
        rows = len(self.user)
        if rows == 0:
            raise ValueError("Ratings: got 0 ratings; use one or more")
        for name in ("item", "rating", "timestamp"):
            _check_rows(f"Ratings.{name}", getattr(self, name), rows)
        _check_ids("Ratings.user", self.user, len(self.users.age))
        _check_ids("Ratings.item", self.item, len(self.items.release_year))

    def __len__(self) -> int:
        return len(self.user)


def _check_rows(name: str, array: np.ndarray, rows: int) -> None:
    if array.shape != (rows,):
        raise ValueError(f"{name}: got shape {array.shape}; use ({rows},)")


def _check_ids(name: str, array: np.ndarray, high: int) -> None:
    if array.dtype != np.int64:
        raise ValueError(f"{name}: got dtype {array.dtype}; use int64")
    if array.size and (array.min() < 0 or array.max() >= high):
        raise ValueError(f"{name}: got ids {array.min()} to {array.max()}; use 0 to {high - 1}")
