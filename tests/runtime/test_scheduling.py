"""Priorities and timeouts in the C++ engine, and through the server."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from engines import held
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, tensors, what_fits

from recpile.pycompiler.server_process import ServerProcess
from recpile.runtime_cpp import Engine


def request(rows: int = 1) -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.arange(5 * rows) % 7,
        "sparse.lengths": np.ones((5, rows), np.int64),
    }


def test_urgent_requests_overtake_others(tiny):
    # The only instance is busy while they queue up, one batch each.
    engine = Engine(tiny, instances=1, max_batch_size=64, priority_levels=3)
    order: list[int] = []
    futures = []
    with held(engine, request()):
        for priority in (3, 0, 1):
            futures.append(engine.submit(request(64), priority=priority))
            futures[-1].add_done_callback(lambda _, priority=priority: order.append(priority))
    for future in futures:
        future.result(timeout=PATIENCE)
    engine.stop()
    assert order == [1, 0, 3]


def test_a_request_that_cannot_be_answered_in_time_says_so_at_once(tiny):
    engine = Engine(tiny, instances=1, max_batch_size=64)
    with held(engine, request()), pytest.raises(RuntimeError, match="timeout of 1 us"):
        engine.infer(request(), timeout_microseconds=1)  # while the only instance is busy
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


@pytest.mark.parametrize("protocol", [triton, triton_grpc])
def test_a_request_that_allows_it_is_answered_for_the_candidates_that_fit(tiny, protocol):
    # So many batches that they cannot be run in the time that there is.
    rows = 400_000
    flat = request(rows)
    flat["dense"] = np.random.default_rng(1).random((rows, 4), np.float32)
    with ServerProcess(tiny, "--instances", "1", "--max-batch-size", "1") as server:
        url = server.url if protocol is triton else server.grpc_url
        client = protocol.InferenceServerClient(url)
        answer = what_fits(server, protocol, flat)
        response = answer.get_response()
        if protocol is triton:
            left_out = response["parameters"]["candidates_left_out"]
        else:
            left_out = response.parameters["candidates_left_out"].int64_param
        scores = answer.as_numpy("score")
        assert 0 < len(scores) == rows - left_out
        # Every bag has one id, so the first rows of all are easily made a request of their own.
        first = {
            "dense": flat["dense"][:16],
            "sparse.values": flat["sparse.values"].reshape(5, rows)[:, :16].reshape(-1),
            "sparse.lengths": flat["sparse.lengths"][:, :16],
        }
        alone = client.infer("tiny_dlrm", tensors(protocol, first)).as_numpy("score")
        np.testing.assert_array_equal(scores[:16], alone)
        with pytest.raises(InferenceServerException, match='"partial_ok" must be true or false'):
            client.infer("tiny_dlrm", tensors(protocol, request()), parameters={"partial_ok": 1})
