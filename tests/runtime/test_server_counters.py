"""Every metric that docs/serving.md names is exported, is the only one, and moves when what it counts happens."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from wire import PATIENCE, ask, flat_request, metric, scrape, wait_for, wait_until, what_fits

from recpile.pycompiler.server_process import ServerProcess

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
LABELS = 'model="tiny_dlrm",version="1"'


def empty_bags(rows: int) -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, rows), np.int64),
    }


def documented() -> dict[str, str]:
    """Kind by name, of the table of metrics."""
    found = {}
    for line in DOCS.read_text().splitlines():
        if line.startswith("| `recpile_"):
            names, kinds, _ = line.strip("|").split("|", 2)
            each = re.findall(r"`(\w+)`", names)
            of_each = kinds.strip().split(", ")
            found.update(zip(each, of_each * (len(each) // len(of_each)), strict=True))
    return found


def test_the_documented_metrics_are_those_that_are_exported(tiny):
    with ServerProcess(tiny, "--otlp-endpoint", "http://127.0.0.1:9") as server:
        text = urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=20).read().decode()
    exported = dict(re.findall(r"^# TYPE (recpile_\S+) (\w+)", text, re.M))
    assert documented() == exported


def test_requests_without_room_and_without_time_are_told_apart(tiny):
    # Where the others take too long to come, once more.
    assert any(are_told_apart(tiny, seconds) for seconds in (4, 4, 8, 16, 32))


def are_told_apart(tiny: Path, seconds: int) -> bool:
    options = ("--instances", "1", "--max-batch-size", "2", "--max-queue-delay-microseconds", "60000000")
    more = ("--max-queue-size", "1000000", "--priority-levels", "2")
    with ServerProcess(tiny, *options, *more) as server, ThreadPoolExecutor(5) as pool:
        # It waits for company for half of its time, and others overtake it for the rest, one behind the other.
        pushed = pool.submit(ask, server, triton_grpc, empty_bags(1), timeout=seconds * 1_000_000, priority=2)
        wait_for("request that waits", lambda: pushed.done() or metric(server, "pending_request_count") >= 1)

        def overtake() -> None:
            with contextlib.suppress(triton_grpc.InferenceServerException):  # the server's end
                while not pushed.done():
                    ask(server, triton_grpc, empty_bags(50_000), priority=1)

        for _ in range(4):
            pool.submit(overtake)
        error = pushed.exception(PATIENCE)
        if error is None:
            server.process.kill()
            return False
        assert f"timeout of {seconds * 1_000_000} us" in str(error)
        assert (metric(server, "expired_count"), metric(server, "shed_count")) == (1, 0)
        with pytest.raises(triton_http.InferenceServerException, match="timeout of 1 us"):
            ask(server, triton_http, flat_request(), timeout=1, priority=2)
        assert (metric(server, "expired_count"), metric(server, "shed_count")) == (1, 1)
        assert scrape(server)[f'recpile_inference_request_failure{{{LABELS},reason="REJECTED"}}'] == 2
        server.process.kill()
        return True


def test_padded_and_partly_answered_requests_are_counted(tiny):
    options = ("--instances", "1", "--pad-batches", "always", "--max-batch-size", "16")
    with ServerProcess(tiny, *options, "--max-queue-size", "1000000") as server:
        ask(server, triton_http, empty_bags(5))
        wait_until(server, "exec_count", 1)
        assert metric(server, "padded_count") == 3  # five run as eight
        assert metric(server, "partial_count") == 0
        scores = what_fits(server, triton_grpc, empty_bags(400_000)).as_numpy("score")
        assert 0 < len(scores) < 400_000
        assert metric(server, "partial_count") == 1


def test_what_waits_is_seen_while_it_waits_and_its_time_afterwards(tiny):
    # Until there are two of two candidates.
    options = ("--instances", "1", "--preferred-batch-size", "4", "--max-queue-delay-microseconds", "60000000")
    with ServerProcess(tiny, *options) as server:
        asking = threading.Thread(target=ask, args=(server, triton_http, flat_request()))
        asking.start()
        wait_until(server, "pending_request_count", 1)
        time.sleep(0.3)
        ask(server, triton_http, flat_request())
        asking.join()
        metrics = scrape(server)
    assert metrics[f"recpile_inference_queue_duration_us{{{LABELS}}}"] >= 300_000
    assert metrics[f"recpile_inference_queue_histogram_us_sum{{{LABELS}}}"] >= 300_000
    assert metrics[f"recpile_inference_request_histogram_us_sum{{{LABELS}}}"] >= 300_000
    assert metrics[f"recpile_inference_pending_request_count{{{LABELS}}}"] == 0


def test_the_models_age_grows_from_when_it_was_loaded(tiny):
    before = time.time()
    with ServerProcess(tiny) as server:
        first, second = scrape(server), scrape(server)
    loaded, age = (f"recpile_model_{name}_seconds{{{LABELS}}}" for name in ("loaded_timestamp", "age"))
    assert before - 1 <= first[loaded] == second[loaded] <= time.time() + 1
    assert 0 <= first[age] < second[age]
