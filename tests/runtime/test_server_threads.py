"""The server's threads are a fixed number, and few of them run: the cores belong to the instances."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from wire import PATIENCE, ask, of_threads, tensors, wait_for, wait_until

from recpile.pycompiler.server_process import ServerProcess

INSTANCES = 2
# Main and reaper, HTTP's and gRPC's own, large requests, two of metrics, and those that gRPC keeps for itself.
OTHERS = 24


def state(stat: str) -> str:
    """Of a thread: "R" runs or wants to."""
    return stat.rpartition(")")[2].split()[0]


def is_pinned(task: Path) -> bool:
    return re.search(r"^Cpus_allowed_list:\s*\d+$", (task / "status").read_text(), re.M) is not None


# Small requests keep HTTP and gRPC busy; of the large ones every operator would be worth several threads of OpenMP.
@pytest.mark.parametrize("rows", [2, 4000])
def test_many_clients_do_not_mean_many_threads(tiny, rows):
    flat = {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.zeros(5 * rows, np.int64),
        "sparse.lengths": np.ones((5, rows), np.int64),
    }
    with ServerProcess(tiny, "--instances", str(INSTANCES)) as server:
        over = threading.Event()
        answered = threading.Semaphore(0)

        def client(protocol, url: str) -> None:
            with protocol.InferenceServerClient(url) as connection:
                while not over.is_set():
                    connection.infer("tiny_dlrm", tensors(protocol, flat))
                    answered.release()

        kinds = [(triton_http, server.url), (triton_grpc, server.grpc_url)]
        clients = [threading.Thread(target=client, args=kind) for kind in kinds * 20]
        for one in clients:
            one.start()
        samples = []
        for _ in range(100):
            assert answered.acquire(timeout=PATIENCE)
            samples.append([state(stat) for stat in of_threads(server, "stat")])
        over.set()
        for one in clients:
            one.join()
    assert max(len(sample) for sample in samples) <= INSTANCES + OTHERS
    # One of HTTP and one of gRPC beside the instances, and a little housekeeping.
    assert max(sample.count("R") for sample in samples) <= INSTANCES + 2 + 3


def empty_bags(candidates: int) -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((candidates, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, candidates), np.int64),
    }


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core nothing runs beside anything")
def test_instances_run_the_same_stages_at_the_same_time(tiny):
    options = ("--instances", "2", "--pin", "--max-batch-size", "4096", "--max-queue-size", "100000")
    with ServerProcess(tiny, *options) as server:
        tasks = [task for task in Path(f"/proc/{server.process.pid}/task").iterdir() if is_pinned(task)]
        assert len(tasks) == 2

        def running() -> int:
            return [state((task / "stat").read_text()) for task in tasks].count("R")

        wait_for("instances to sleep", lambda: running() == 0)
        # One that waited for the other would sleep most of the time; the machine makes one wait now and then.
        assert any(are_both_running(server, running) for _ in range(10))


def are_both_running(server: ServerProcess, running: Callable[[], int]) -> bool:
    """Most of the time, while they work off a request of two hundred batches, each the next when it has done one."""
    asking = threading.Thread(target=ask, args=(server, triton_grpc, empty_bags(800_000)))
    asking.start()
    samples = []
    while asking.is_alive():
        samples.append(running())
    asking.join()
    return samples.count(2) > 3 * samples.count(1)


def voluntary_switches(server: ServerProcess) -> int:
    """How often threads of the server have gone to sleep."""
    status = of_threads(server, "status")
    return sum(int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", one, re.M)[0]) for one in status)


def wakings_a_second(server: ServerProcess) -> float:
    begin, before = time.monotonic(), voluntary_switches(server)
    time.sleep(2)
    return (voluntary_switches(server) - before) / (time.monotonic() - begin)


def test_nobody_polls_while_a_request_waits(tiny):
    options = ("--instances", "2", "--max-queue-delay-microseconds", "60000000", "--preferred-batch-size", "4")
    with ServerProcess(tiny, *options) as server, ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, triton_http, empty_bags(2))
        wait_until(server, "pending_request_count", 1)
        # A thread that looked every 10 ms would wake 200 times. gRPC's own look after their timers now and then.
        assert any(wakings_a_second(server) < 20 for _ in range(10))
        assert not first.done()
        assert ask(server, triton_http, empty_bags(2)).shape == first.result(PATIENCE).shape == (2,)
