"""The demo's load: every row once, in order, and what it took."""

from __future__ import annotations

import numpy as np
import pytest

from recpile.models.load import REQUEST_SIZES, Load, _side_by_side, requests_of_mixed_sizes
from recpile.pycompiler.quality import EvalData
from recpile.pycompiler.schema import Dense, InputSchema

ROWS = sum(REQUEST_SIZES) + 7  # once around, and a rest that fits no size


def test_requests_hold_every_row_once_and_in_order():
    data = EvalData("rows", {"x": np.arange(ROWS, dtype=np.float32).reshape(ROWS, 1)}, np.zeros(ROWS))
    requests = requests_of_mixed_sizes(InputSchema([Dense("x", (1,))]), data)
    assert [len(one["x"]) for one in requests[: len(REQUEST_SIZES)]] == list(REQUEST_SIZES)
    np.testing.assert_array_equal(np.concatenate([one["x"].numpy() for one in requests])[:, 0], np.arange(ROWS))


def test_answers_come_back_in_the_order_of_requests_whoever_sent_them():
    answers, load = _side_by_side(10, 3, lambda: lambda i: np.full(i % 2 + 1, i))
    np.testing.assert_array_equal(answers, np.concatenate([np.full(i % 2 + 1, i) for i in range(10)]))
    assert (load.requests, load.samples, len(load.seconds)) == (10, 15, 10)


def test_a_client_that_fails_is_not_swallowed():
    def answer(i: int) -> np.ndarray:
        if i == 4:
            raise ConnectionError("the server is gone")
        return np.zeros(1)

    with pytest.raises(ConnectionError, match="the server is gone"):
        _side_by_side(10, 2, lambda: answer)


def test_no_clients_is_an_error():
    with pytest.raises(ValueError, match="clients: got 0; use 1 or more"):
        _side_by_side(10, 0, lambda: lambda i: np.zeros(1))


def test_rates_and_percentiles():
    load = Load(requests=4, samples=40, elapsed=2.0, seconds=np.array([0.001, 0.002, 0.003, 0.1]))
    assert (load.requests_per_second, load.samples_per_second) == (2.0, 20.0)
    assert load.percentile_ms(50) == pytest.approx(2.5)
    assert load.percentile_ms(100) == pytest.approx(100)
