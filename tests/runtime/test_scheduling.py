"""Priorities and timeouts in the C++ engine, and through the server."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from recpile.pycompiler.server_process import ServerProcess
from recpile.runtime_cpp import Engine


def request(rows: int = 1) -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.arange(5 * rows) % 7,
        "sparse.lengths": np.ones((5, rows), np.int64),
    }


def test_urgent_requests_overtake_others(tiny):
    # The first one keeps the only instance busy while the others queue up, one batch each.
    engine = Engine(tiny, instances=1, max_batch_size=64, priority_levels=3)
    order: list[int] = []
    futures = [engine.submit(request(20_000))]
    for priority in (3, 0, 1):
        futures.append(engine.submit(request(64), priority=priority))
        futures[-1].add_done_callback(lambda _, priority=priority: order.append(priority))
    for future in futures:
        future.result()
    engine.stop()
    assert order == [1, 0, 3]


def test_a_request_that_cannot_be_answered_in_time_says_so_at_once(tiny):
    engine = Engine(tiny, instances=1, max_batch_size=64)
    busy = engine.submit(request(20_000))
    with pytest.raises(RuntimeError, match="timeout of 1 us"):
        engine.infer(request(), timeout_microseconds=1)
    assert not busy.done()
    assert engine.infer(request(), timeout_microseconds=60_000_000)["score"].shape == (1,)
    stats = engine.stats()
    engine.stop()
    assert stats["requests_expired"] + stats["requests_rejected"] == 1


def test_or_it_is_delayed_and_answered_some_time(tiny):
    engine = Engine(tiny, instances=1, default_timeout_microseconds=1, timeout_action="delay")
    futures = [engine.submit(request()) for _ in range(50)]
    assert all(future.result()["score"].shape == (1,) for future in futures)
    assert engine.stats()["requests_expired"] == 0
    engine.stop()


def test_an_unknown_option_is_named(tiny):
    with pytest.raises(TypeError, match="Engine has no option 'max_batch'"):
        Engine(tiny, max_batch=3)
    with pytest.raises(ValueError, match="timeout_action: got 'drop'; use 'reject' or 'delay'"):
        Engine(tiny, timeout_action="drop")


def test_the_public_clients_timeout_is_kept(tiny):
    with ServerProcess(tiny, "--instances", "1") as server:
        client = triton.InferenceServerClient(server.url)
        inputs = []
        for name, array in request().items():
            inputs.append(triton.InferInput(name, array.shape, "FP32" if array.dtype == np.float32 else "INT64"))
            inputs[-1].set_data_from_numpy(array)
        with pytest.raises(InferenceServerException, match="timeout of 1 us"):
            # A microsecond has passed before an instance can look.
            client.infer("tiny_dlrm", inputs, timeout=1)
        assert client.infer("tiny_dlrm", inputs, timeout=60_000_000, priority=1).as_numpy("score").shape == (1,)
