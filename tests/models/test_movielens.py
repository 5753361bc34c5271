from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from recpile.models import movielens
from recpile.models.ratings import GENRES, OCCUPATIONS

FAKE = {
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t24\tM\ttechnician\t85711\n3\t53\tF\tother\tV0R2M\n",
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Story\t1995\tAnimation Children's Comedy\n2\tunknown\tunkonwn\tunknown\n",
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "3\t1\t4\t881250949\n1\t2\t3\t891717742\n",
}


def _wheel(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"recbole/dataset_example/ml-100k/{name}", text)
    return path


def _pip_that(
    monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "", files: dict[str, str] | None = None
) -> list:
    """Replaces pip; returns the list of its calls."""
    calls: list = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if files is not None:
            _wheel(Path(command[command.index("--dest") + 1]), files)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(movielens.subprocess, "run", run)
    return calls


def test_the_files_of_a_wheel_are_parsed(tmp_path: Path) -> None:
    movielens.extract(_wheel(tmp_path, FAKE), tmp_path / "data")
    ratings = movielens.load(tmp_path / "data")
    assert ratings.user.tolist() == [3, 1]
    assert ratings.item.tolist() == [1, 2]
    assert ratings.rating.tolist() == [4.0, 3.0]
    assert ratings.timestamp.tolist() == [881250949, 891717742]
    assert ratings.users.age.tolist() == [0, 24, 0, 53]
    assert ratings.users.gender.tolist() == [0, 2, 0, 1]
    assert OCCUPATIONS[ratings.users.occupation[1]] == "technician"
    assert ratings.users.zip_prefix.tolist() == [0, 86, 0, 101]
    assert ratings.items.release_year.tolist() == [0, 1995, 0]
    assert [GENRES[one] for one in ratings.items.genres] == ["Animation", "Children's", "Comedy", "unknown"]
    assert ratings.items.genre_offsets.tolist() == [0, 0, 3, 4]


def test_a_second_download_uses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _pip_that(monkeypatch, 0, files=FAKE)
    folder = movielens.download(tmp_path / "cache")
    assert movielens.download(tmp_path / "cache") == folder
    assert len(calls) == 1
    assert calls[0][-1] == "recbole==1.2.1"
    assert "--no-deps" in calls[0]
    assert sorted(one.name for one in folder.iterdir()) == sorted(FAKE)


def test_a_failing_download_says_why_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_that(monkeypatch, 1, stderr="WARNING: retrying\nERROR: No matching distribution found for recbole==1.2.1\n")
    with pytest.raises(movielens.DataError, match=r"No matching distribution.*use --data synthetic"):
        movielens.download(tmp_path)


def test_pip_that_hangs_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("pip", 300)

    monkeypatch.setattr(movielens.subprocess, "run", hang)
    with pytest.raises(movielens.DataError, match=r"timed out.*use --data synthetic"):
        movielens.download(tmp_path)


def test_a_wheel_without_a_file_is_named(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, {name: text for name, text in FAKE.items() if name != "ml-100k.item"})
    with pytest.raises(movielens.DataError, match=r"ml-100k\.item"):
        movielens.extract(wheel, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_broken_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.whl").write_bytes(b"PK no zip")
    with pytest.raises(movielens.DataError, match=r"broken\.whl is no readable wheel"):
        movielens.extract(tmp_path / "broken.whl", tmp_path / "data")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("ml-100k.inter", FAKE["ml-100k.inter"] + "1\t2\n", r"ml-100k\.inter:4: got 2 fields; use 4"),
        ("ml-100k.user", "a:token\tb:token\n", r"ml-100k\.user: got columns \('a', 'b'\)"),
        ("ml-100k.item", "", r"ml-100k\.item: got columns"),
        ("ml-100k.inter", FAKE["ml-100k.inter"] + "9\t1\t4\t1\n", r"Ratings\.user: got ids 1 to 9"),
        ("ml-100k.inter", FAKE["ml-100k.inter"] + "x\t1\t4\t1\n", "could not convert string to float"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, file: str, text: str, message: str) -> None:
    for name, good in FAKE.items():
        (tmp_path / name).write_text(text if name == file else good, encoding="utf-8")
    with pytest.raises(movielens.DataError, match=message):
        movielens.load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(movielens.DataError, match=r"cannot read .*ml-100k\.user"):
        movielens.load(tmp_path)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECPILE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert movielens.cache_folder() == tmp_path / "xdg" / "recpile" / "movielens-100k"
    monkeypatch.setenv("RECPILE_CACHE", str(tmp_path / "own"))
    assert movielens.cache_folder() == tmp_path / "own" / "movielens-100k"
