"""Options and parameters of scheduling, as clients of both protocols meet them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from wire import PATIENCE, ask, flat_request, json_request, metric, scrape, wait_for, wait_until

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.server_process import ServerProcess

PROTOCOLS = pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
A_MINUTE = str(60_000_000)
LABELS = 'model="tiny_dlrm",version="1"'


def empty_bags(rows: int) -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, rows), np.int64),
    }


@PROTOCOLS
def test_a_preferred_batch_goes_at_once_and_what_is_left_waits_for_the_next(tiny, protocol):
    options = ("--instances", "1", "--preferred-batch-size", "8", "--max-queue-delay-microseconds", A_MINUTE)
    wanted = DebugRuntime(tiny).run(flat_request())["score"].numpy()
    with ServerProcess(tiny, *options) as server, ThreadPoolExecutor(8) as pool:

        def send(requests: int) -> list[Future]:
            return [pool.submit(ask, server, protocol, flat_request()) for _ in range(requests)]

        five = send(5)  # of two candidates each
        wait_until(server, "count", 8)
        wait_until(server, "pending_request_count", 1)
        assert sum(one.done() for one in five) <= 4
        for one in five + send(3):
            np.testing.assert_allclose(one.result(PATIENCE), wanted, atol=2e-6, rtol=0)
        assert metric(server, "exec_count") == 2


@PROTOCOLS
def test_a_requests_priority_decides_what_it_overtakes(tiny, protocol, tmp_path):
    log = tmp_path / "log"
    options = ("--instances", "1", "--max-batch-size", "16", "--max-queue-size", "100000", "--priority-levels", "3")
    logs = ("--log-requests", "--log-format", "json")
    with ServerProcess(tiny, *options, *logs, log=log) as server:
        # Thousands of batches, of the middle priority; more, should they not outlast the coming of the others.
        assert any(all_come_while_it_is_busy(server, protocol, batches) for batches in (6_000, 12_000, 24_000, 48_000))
    answered = [json.loads(line)["id"] for line in log.read_text().splitlines() if '"event":"request"' in line]
    assert answered[-4:] == ["priority 1", "busy", "priority 0", "priority 3"]


def all_come_while_it_is_busy(server: ServerProcess, protocol: ModuleType, batches: int) -> bool:
    """Whether requests of three priorities, a batch each, were there before a large one was done."""

    def come_and_waiting() -> tuple[float, float]:
        # Taken by an instance or waiting, pieces of the large one too. What was taken is read first: none counts twice.
        metrics = scrape(server)
        waiting = metrics[f"recpile_inference_pending_request_count{{{LABELS}}}"]
        return metrics[f"recpile_inference_queue_histogram_us_count{{{LABELS}}}"] + waiting, waiting

    before, seen = come_and_waiting()[0], [0.0]

    def all_there() -> bool:
        come, seen[0] = come_and_waiting()
        return come >= before + batches + 3

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, server, protocol, empty_bags(16 * batches), request_id="busy")]
        wait_for("first batch", lambda: come_and_waiting()[0] >= before + batches)
        for priority in (3, 0, 1):
            name = f"priority {priority}"
            asked.append(pool.submit(ask, server, protocol, empty_bags(16), request_id=name, priority=priority))
        wait_for("requests of every priority", all_there)
        for one in asked:
            one.result(PATIENCE)
    return seen[0] > 3  # a piece of the large one, at least, waited then


@PROTOCOLS
def test_where_lateness_delays_instead_of_refusing_late_requests_are_answered(tiny, protocol):
    options = ("--instances", "1", "--default-timeout-microseconds", "1", "--timeout-action", "delay")
    with ServerProcess(tiny, *options) as server:
        assert ask(server, protocol, flat_request()).shape == (2,)
        assert ask(server, protocol, flat_request(), timeout=1).shape == (2,)
        assert metric(server, "expired_count") == metric(server, "shed_count") == 0


def test_a_full_queue_refuses_and_says_when_to_come_back(tiny):
    options = ("--instances", "1", "--max-queue-size", "1", "--max-queue-delay-microseconds", A_MINUTE)
    with ServerProcess(tiny, *options) as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, server, triton_grpc, flat_request())  # for company, which it does not get
        wait_until(server, "pending_request_count", 1)
        body = json.dumps(json_request()).encode()
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://{server.url}/v2/models/tiny_dlrm/infer", body, timeout=PATIENCE)
        assert error.value.code == 503
        assert 1 <= int(error.value.headers["Retry-After"]) <= 10  # seconds
        assert "queue is full" in json.loads(error.value.read())["error"]
        with pytest.raises(triton_http.InferenceServerException, match=r"UNAVAILABLE.*queue is full"):
            ask(server, triton_grpc, flat_request())
        assert metric(server, "shed_count") == 2
        server.process.kill()
        assert waiting.exception(PATIENCE) is not None
