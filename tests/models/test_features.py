from __future__ import annotations

import numpy as np
import pytest

from recpile.models.features import FeatureOptions, dense_features, make_splits, sparse_features, split_times
from recpile.models.ratings import Ratings
from recpile.models.timeline import timeline
from recpile.models.vocabulary import DENSE, KEYS, VOCABULARY

DAY = 86_400


def _bags(ratings: Ratings, history: int = 3) -> dict[str, list[list[int]]]:
    by_user = timeline(ratings.user, ratings.timestamp)
    sparse = sparse_features(ratings, np.ones(len(ratings), bool), by_user, history)
    return {key: [ids.tolist() for ids in np.split(values, np.cumsum(n)[:-1])] for key, (values, n) in sparse.items()}


def _raw(ratings: Ratings, training: np.ndarray) -> np.ndarray:
    return dense_features(ratings, training, timeline(ratings.user, ratings.timestamp))


def test_history_holds_only_earlier_ratings_split_by_liking(make_ratings) -> None:
    ratings = make_ratings([(1, 1, 5, 10), (1, 2, 2, 20), (1, 3, 4, 30), (1, 4, 1, 30), (1, 5, 5, 40), (2, 6, 5, 35)])
    bags = _bags(ratings)
    assert bags["liked"] == [[], [1], [1], [1], [1, 3], []]
    assert bags["disliked"] == [[], [], [2], [2], [2, 4], []]


def test_history_keeps_the_latest(make_ratings) -> None:
    ratings = make_ratings([(1, item, 5, item) for item in range(1, 7)])
    assert _bags(ratings, history=2)["liked"] == [[], [1], [1, 2], [2, 3], [3, 4], [4, 5]]


def test_genres_are_those_of_the_item(make_ratings) -> None:
    assert _bags(make_ratings([(1, 1, 5, 1), (1, 2, 5, 2)]))["genres"] == [[1, 5], []]


def test_users_and_items_without_training_rows_are_unknown(make_ratings) -> None:
    ratings = make_ratings([(1, 1, 5, 1), (2, 2, 5, 2), (2, 1, 5, 3)])
    by_user = timeline(ratings.user, ratings.timestamp)
    sparse = sparse_features(ratings, np.array([True, False, False]), by_user, 3)
    assert sparse["user"][0].tolist() == [1, 0, 0]
    assert sparse["item"][0].tolist() == [1, 0, 1]
    assert sparse["liked"][0].tolist() == [0]  # user 2's liking of item 2, which training has not seen


def test_a_user_like_rate_is_smoothed_and_excludes_the_row_itself(make_ratings) -> None:
    ratings = make_ratings([(1, 1, 5, 1), (1, 2, 5, 2), (1, 3, 1, 3)])
    rates = _raw(ratings, np.ones(3, bool))[:, DENSE.index("user_like_rate")]
    np.testing.assert_allclose(rates, [0.55, (1 + 5 * 0.55) / 6, (2 + 5 * 0.55) / 7])


def test_item_statistics_count_training_rows_only(make_ratings) -> None:
    ratings = make_ratings([(1, 1, 5, 1), (2, 1, 5, 2), (3, 1, 5, 3)])
    counts = _raw(ratings, np.array([True, False, False]))[:, DENSE.index("item_log_count")]
    np.testing.assert_allclose(counts, np.log1p([0, 1, 1]))


def test_a_changed_rating_changes_no_row_that_is_not_later(tiny_ratings: Ratings) -> None:
    training = tiny_ratings.timestamp < np.quantile(tiny_ratings.timestamp, 0.8)
    changed_row = int(np.argsort(tiny_ratings.timestamp, kind="stable")[len(tiny_ratings) // 2])
    rating = tiny_ratings.rating.copy()
    rating[changed_row] = 6 - rating[changed_row] if rating[changed_row] != 3 else 5
    changed = Ratings(
        tiny_ratings.user, tiny_ratings.item, rating, tiny_ratings.timestamp, tiny_ratings.users, tiny_ratings.items
    )
    safe = tiny_ratings.timestamp <= tiny_ratings.timestamp[changed_row]

    before, after = _raw(tiny_ratings, training), _raw(changed, training)
    np.testing.assert_array_equal(before[safe], after[safe])
    assert (before[~safe] != after[~safe]).any()
    bags_before, bags_after = _bags(tiny_ratings, 20), _bags(changed, 20)
    for key in KEYS:
        assert all(bags_before[key][row] == bags_after[key][row] for row in np.flatnonzero(safe))


def test_a_changed_held_out_rating_leaves_train_and_validation_as_they_are(tiny_ratings: Ratings) -> None:
    splits = make_splits(tiny_ratings)
    rating = np.where(tiny_ratings.timestamp >= splits.held_out_from, 5, tiny_ratings.rating).astype(np.float32)
    changed = make_splits(
        Ratings(
            tiny_ratings.user, tiny_ratings.item, rating, tiny_ratings.timestamp, tiny_ratings.users, tiny_ratings.items
        )
    )
    for one, other in ((splits.train, changed.train), (splits.validation, changed.validation)):
        np.testing.assert_array_equal(one.dense, other.dense)
        np.testing.assert_array_equal(one.labels, other.labels)
        for key in KEYS:
            np.testing.assert_array_equal(one.values[key], other.values[key])


def test_splits_begin_at_midnight_and_cover_all_rows(tiny_ratings: Ratings) -> None:
    splits = make_splits(tiny_ratings)
    assert splits.validation_from % DAY == splits.held_out_from % DAY == 0
    assert len(splits.train) == (tiny_ratings.timestamp < splits.validation_from).sum()
    assert len(splits.held_out) == (tiny_ratings.timestamp >= splits.held_out_from).sum()
    assert len(splits.train) + len(splits.validation) + len(splits.held_out) == len(tiny_ratings)


def test_dense_is_standardized_on_the_training_split_and_ids_fit_the_tables(tiny_splits) -> None:
    np.testing.assert_allclose(tiny_splits.train.dense.mean(axis=0), 0, atol=0.1)
    for examples in (tiny_splits.train, tiny_splits.validation, tiny_splits.held_out):
        assert examples.dense.dtype == np.float32
        assert examples.dense.shape[1] == len(DENSE)
        for key, rows in VOCABULARY.items():
            assert examples.values[key].max() < rows
            assert examples.values[key].min() >= 0


def test_too_few_days_are_refused() -> None:
    with pytest.raises(ValueError, match="got ratings on 2 days"):
        split_times(np.array([0, DAY]), FeatureOptions())


def test_fractions_that_leave_nothing_held_out_are_refused() -> None:
    with pytest.raises(ValueError, match="leave some for held-out"):
        FeatureOptions(train_fraction=0.9, validation_fraction=0.1)
