"""A request that runs as several: cut because it is too large, or spread over instances that idle. Nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from engines import together
from wire import ask, metric, wait_until

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST
from recpile.pycompiler.server_process import ServerProcess
from recpile.runtime_cpp import Engine

# Requests of which one or another is spread over both instances, whatever else runs on the cores.
OFTEN = 1000


def arrays(flat: dict) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in flat.items() if name != CANDIDATE_TO_REQUEST}


@pytest.mark.parametrize("model", ["tiny_dlrm", "two_sources"])
def test_a_request_larger_than_the_largest_batch_is_cut_and_answered_whole(export, model):
    path = export(model).path
    runtime, engine = DebugRuntime(path), Engine(str(path), max_batch_size=8)
    flat = random_inputs(runtime.manifest, 100)
    answer = engine.infer(arrays(flat))
    for name, wanted in runtime.run(flat).items():
        assert answer[name].shape == wanted.shape
        np.testing.assert_allclose(answer[name], wanted.numpy(), atol=2e-6, rtol=0)
    stats = engine.stats()
    assert (stats["requests_ok"], stats["batches"], stats["samples"]) == (1, 13, 100)
    engine.stop()


@pytest.fixture(scope="module")
def whole(export):
    """A model whose answers are the same bytes in whatever batches they run, and an engine that cuts nothing.

    Usually another batch size may take another kernel, which sums in another order. Here every sum is of small whole
    numbers, which no order rounds.
    """
    path = export("whole_numbers").path
    engine = Engine(path, instances=1, max_batch_size=100_000)
    yield path, engine
    engine.stop()


def whole_request(path, candidates: int, seed: int) -> dict[str, np.ndarray]:
    return arrays(random_inputs(DebugRuntime(path).manifest, candidates, seed, whole=True))


@pytest.mark.parametrize(("candidates", "runs"), [(9, 2), (16, 2), (17, 3), (100, 13)])
def test_a_request_that_is_too_large_is_cut_and_its_answer_is_the_same_bytes(whole, candidates, runs):
    path, uncut = whole
    request = whole_request(path, candidates, seed=candidates)
    engine = Engine(path, instances=2, max_batch_size=8)
    answer = engine.infer(request)["score"]
    assert answer.tobytes() == uncut.infer(request)["score"].tobytes()
    assert len(set(answer.tolist())) > candidates // 4  # the rows are not alike, so one that is misplaced shows
    engine.stop()
    assert engine.stats()["batches"] == runs


def test_a_request_that_is_spread_over_idle_instances_has_the_same_bytes(whole):
    path, uncut = whole
    request = whole_request(path, 30_000, seed=1)
    wanted = uncut.infer(request)["score"].tobytes()
    engine = Engine(path, instances=2, max_batch_size=100_000)
    # That takes two instances that idle when it comes.
    requests = 0
    while engine.stats()["batches"] == requests:
        assert requests < OFTEN, "no request is spread"
        assert engine.infer(request)["score"].tobytes() == wanted
        requests += 1
    engine.stop()


def test_requests_that_share_batches_and_instances_have_the_same_bytes(whole):
    path, alone = whole
    requests = [whole_request(path, 1 + seed % 40, seed) for seed in range(150)]
    engine = Engine(path, instances=2, max_batch_size=64)
    ran = together(engine, requests, instances=2)
    for request, answer in zip(requests, ran.answers, strict=True):
        assert answer["score"].tobytes() == alone.infer(request)["score"].tobytes()
    engine.stop()
    assert ran.batches < 150


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_clients_of_the_server_cannot_tell_either(whole, protocol):
    path, uncut = whole
    request = whole_request(path, 30_000, seed=1)
    wanted = uncut.infer(request)["score"].tobytes()
    with ServerProcess(path, "--instances", "2", "--max-batch-size", "1000") as server:
        assert ask(server, protocol, request).tobytes() == wanted
        wait_until(server, "exec_count", 30)
        assert metric(server, "exec_count") == 30
    with ServerProcess(path, "--instances", "2", "--max-batch-size", "100000") as server:
        requests = 0
        while metric(server, "exec_count") == requests:
            assert requests < OFTEN, "no request is spread"
            assert ask(server, protocol, request).tobytes() == wanted
            requests += 1
            wait_until(server, "exec_count", requests)
