from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recpile.models.examples import Examples, load_examples, save_examples
from recpile.models.features import Splits

TWO_KEYS = Examples(
    dense=np.array([[0.0], [1.0], [2.0]], np.float32),
    values={"a": np.array([10, 11, 12]), "b": np.array([20, 21, 22])},
    offsets={"a": np.array([0, 1, 1, 3]), "b": np.array([0, 1, 2, 3])},
    labels=np.array([0, 1, 1], np.float32),
)


def test_flat_inputs_go_key_by_key_then_row_by_row() -> None:
    flat = TWO_KEYS.flat(slice(1, 3))
    assert flat["sparse.values"].tolist() == [11, 12, 21, 22]
    assert flat["sparse.lengths"].tolist() == [[0, 2], [1, 1]]
    assert flat["dense"].tolist() == [[1.0], [2.0]]


def test_rows_can_be_picked_in_any_order_and_twice() -> None:
    flat = TWO_KEYS.flat(np.array([2, 0, 2]))
    assert flat["sparse.values"].tolist() == [11, 12, 10, 11, 12, 22, 20, 22]
    assert flat["sparse.lengths"].tolist() == [[2, 1, 2], [1, 1, 1]]


def test_no_rows_give_empty_inputs() -> None:
    flat = TWO_KEYS.flat(slice(0, 0))
    assert flat["sparse.lengths"].shape == (2, 0)
    assert flat["sparse.values"].dtype == np.int64
    assert len(flat["sparse.values"]) == 0


def test_flat_inputs_equal_a_naive_loop(tiny_splits: Splits) -> None:
    examples, rows = tiny_splits.train, np.random.default_rng(0).integers(0, len(tiny_splits.train), 50)
    bags = [
        [examples.values[key][examples.offsets[key][row] : examples.offsets[key][row + 1]] for row in rows]
        for key in examples.keys
    ]
    flat = examples.flat(rows)
    assert flat["sparse.values"].tolist() == [one for of_key in bags for bag in of_key for one in bag]
    assert flat["sparse.lengths"].tolist() == [[len(bag) for bag in of_key] for of_key in bags]
    np.testing.assert_array_equal(flat["dense"], examples.dense[rows])


def test_a_saved_file_holds_the_flat_inputs_under_their_names_and_loads_back(tmp_path: Path) -> None:
    save_examples(tmp_path / "held_out.npz", TWO_KEYS)
    with np.load(tmp_path / "held_out.npz") as file:
        assert sorted(file.files) == ["dense", "keys", "labels", "sparse.lengths", "sparse.values"]
        assert file["sparse.lengths"].tolist() == [[1, 0, 2], [1, 1, 1]]
    again = load_examples(tmp_path / "held_out.npz")
    assert again.keys == ("a", "b")
    for name, array in TWO_KEYS.flat().items():
        np.testing.assert_array_equal(again.flat()[name], array)
    np.testing.assert_array_equal(again.labels, TWO_KEYS.labels)


def test_a_file_without_an_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", dense=np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"got no array \['keys', 'labels'"):
        load_examples(tmp_path / "other.npz")


def test_offsets_that_do_not_fit_the_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"offsets\['a'\]: use 2 offsets from 0 to 3"):
        Examples(np.zeros((1, 1), np.float32), {"a": np.arange(3)}, {"a": np.array([0, 2])}, np.zeros(1, np.float32))
