from __future__ import annotations

import numpy as np

from recpile.models.timeline import timeline

# One owner at 10, 20, 20, 30 and another at 15 and 25, given out of order.
OWNER = np.array([1, 2, 1, 1, 2, 1])
TIME = np.array([30, 15, 10, 20, 25, 20])


def test_sums_count_only_what_is_strictly_before() -> None:
    amounts = np.array([1.0, 10.0, 2.0, 4.0, 20.0, 8.0])
    np.testing.assert_array_equal(timeline(OWNER, TIME).sum_before(amounts), [14, 0, 0, 2, 10, 2])


def test_events_of_the_same_second_do_not_see_each_other() -> None:
    same = timeline(np.array([7, 7, 7]), np.array([5, 5, 5]))
    np.testing.assert_array_equal(same.sum_before(np.ones(3)), [0, 0, 0])


def test_a_limited_sum_takes_the_latest_events() -> None:
    amounts = np.array([1.0, 10.0, 2.0, 4.0, 20.0, 8.0])
    np.testing.assert_array_equal(timeline(OWNER, TIME).sum_before(amounts, last=2), [12, 0, 0, 2, 10, 2])


def test_seconds_since_first_and_latest() -> None:
    line = timeline(OWNER, TIME)
    np.testing.assert_array_equal(line.seconds_since(TIME, "first"), [20, 0, 0, 10, 10, 10])
    np.testing.assert_array_equal(line.seconds_since(TIME, "latest"), [10, 0, 0, 10, 10, 10])


def test_windows_hold_the_latest_chosen_events_oldest_first() -> None:
    owner, time = np.ones(5, np.int64), np.array([1, 2, 3, 4, 5])
    chosen = np.array([True, False, True, True, True])
    rows, starts, ends = timeline(owner, time).windows_before(chosen, last=2)
    assert [rows[a:b].tolist() for a, b in zip(starts, ends, strict=True)] == [[], [0], [0], [0, 2], [2, 3]]
