"""MovieLens-100K: 100,000 ratings of 1,682 films by 943 people, September 1997 to April 1998.

The data comes out of the PyPI wheel of RecBole, which carries it as its example data set; it is kept in the user's
cache folder and never in this repository. GroupLens (University of Minnesota) allows its use for research under
conditions: see TERMS. Source: F. Maxwell Harper and Joseph A. Konstan, 2015, doi 10.1145/2827872.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from recpile.models.ratings import FIRST_YEAR, GENDERS, GENRES, LAST_YEAR, OCCUPATIONS, Items, Ratings, Users

WHEEL = "recbole==1.2.1"
FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
TERMS = (
    "MovieLens-100K is GroupLens' data (University of Minnesota). In short: for research use; do not redistribute it or"
    " use it commercially without their permission; do not state or imply their endorsement; cite F. M. Harper and"
    " J. A. Konstan, 'The MovieLens Datasets: History and Context', ACM TiiS 5(4):19, 2015, doi 10.1145/2827872."
)

_FOLDER_IN_WHEEL = "recbole/dataset_example/ml-100k"
_DOWNLOAD_SECONDS = 300
_NO_DATA = "to go on without it, use --data synthetic"


class DataError(RuntimeError):
    """The data set could not be fetched or read; the message says which file and what to do."""


def cache_folder() -> Path:
    """Where the three files are kept: `$RECPILE_CACHE`, else `$XDG_CACHE_HOME/recpile`, else `~/.cache/recpile`."""
    own = os.environ.get("RECPILE_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME")
    root = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "recpile"
    return root / "movielens-100k"


def download(cache_dir: Path | None = None) -> Path:
    """Fetch the data with pip unless it is cached, and return the folder that holds FILES (default `cache_folder()`).

    Raises DataError when pip fails (no network, no such wheel) or the wheel lacks a file.
    """
    folder = Path(cache_dir) if cache_dir is not None else cache_folder()
    if all((folder / name).is_file() for name in FILES):
        return folder
    with tempfile.TemporaryDirectory(prefix="recpile-movielens-") as temporary:
        _pip_download(Path(temporary))
        wheels = sorted(Path(temporary).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"pip downloaded {len(wheels)} wheels for {WHEEL}, not one; {_NO_DATA}")
        extract(wheels[0], folder)
    return folder


def extract(wheel: Path, folder: Path) -> None:
    """Write FILES out of RecBole's wheel into `folder`, each whole or not at all. DataError names what lacks."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = {name: archive.read(f"{_FOLDER_IN_WHEEL}/{name}") for name in FILES}
    except KeyError as error:
        raise DataError(
            f"{wheel.name} has no {error.args[0]}; use the wheel of {WHEEL}, or --data synthetic"
        ) from error
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{wheel.name} is no readable wheel ({error}); download it again, or use --data synthetic"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as temporary:
        for name, content in contents.items():
            written = Path(temporary) / name
            written.write_bytes(content)
            os.replace(written, folder / name)


def load(folder: Path) -> Ratings:
    """Parse the three files in `folder`. Raises DataError naming the file, and the line where one is malformed."""
    user_rows = _read(folder / "ml-100k.user", ("user_id", "age", "gender", "occupation", "zip_code"))
    item_rows = _read(folder / "ml-100k.item", ("item_id", "movie_title", "release_year", "class"))
    rating_rows = _read(folder / "ml-100k.inter", ("user_id", "item_id", "rating", "timestamp"))
    try:
        columns = np.asarray(rating_rows, dtype=np.float64).reshape(-1, 4)
        return Ratings(
            user=columns[:, 0].astype(np.int64),
            item=columns[:, 1].astype(np.int64),
            rating=columns[:, 2].astype(np.float32),
            timestamp=columns[:, 3].astype(np.int64),
            users=_users(user_rows),
            items=_items(item_rows),
        )
    except ValueError as error:
        raise DataError(f"{folder} holds no MovieLens-100K: {error}; delete the folder to fetch it again") from error


def _pip_download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), WHEEL],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"could not download {WHEEL} (MovieLens-100K) with pip: {error}; {_NO_DATA}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise DataError(
            f"could not download {WHEEL} (MovieLens-100K) with pip: {said[-1]}; check the network; {_NO_DATA}"
        )


def _read(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """The rows of a RecBole file: tab-separated, with a header of `name:type`."""
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; delete {path.parent} to fetch it again") from error
    names = tuple(column.split(":")[0] for column in header.split("\t"))
    if names != columns:
        raise DataError(f"{path}: got columns {names}; use {columns}, as in {WHEEL}")
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise DataError(f"{path}:{number}: got {len(row)} fields; use {len(columns)} separated by tabs")
    return rows


def _users(rows: list[list[str]]) -> Users:
    by_id = {int(row[0]): row for row in rows}
    table = np.zeros((4, max(by_id, default=0) + 1), dtype=np.int64)
    for user, (_, age, gender, occupation, zip_code) in by_id.items():
        prefix = zip_code[:2]
        zip_id = 1 + int(prefix) if prefix.isdigit() else 101 if prefix else 0
        table[:, user] = (int(age), _position(GENDERS, gender), _position(OCCUPATIONS, occupation), zip_id)
    return Users(*table)


def _items(rows: list[list[str]]) -> Items:
    by_id = {int(row[0]): row for row in rows}
    genres: list[list[int]] = [[] for _ in range(max(by_id, default=0) + 1)]
    years = np.zeros(len(genres), dtype=np.int64)
    for item, (_, _, year, names) in by_id.items():
        known = year.isdigit() and FIRST_YEAR <= int(year) <= LAST_YEAR
        years[item] = int(year) if known else 0
        genres[item] = [_position(GENRES, name) for name in names.split()]
    offsets = np.cumsum([0, *(len(one) for one in genres)], dtype=np.int64)
    flat = np.asarray([genre for one in genres for genre in one], dtype=np.int64)
    return Items(years, flat, offsets)


def _position(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else 0
