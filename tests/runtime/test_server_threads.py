"""The server's threads are a fixed number, and few of them run: the cores belong to the instances."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from wire import tensors

from recpile.pycompiler.server_process import ServerProcess

INSTANCES = 2
# Main and reaper, HTTP's and gRPC's own, large requests, two of metrics, and those that gRPC keeps for itself.
OTHERS = 24


def states(pid: int) -> list[str]:
    """The state of every thread of a process: "R" runs or wants to."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.append((task / "stat").read_text().rpartition(")")[2].split()[0])
        except FileNotFoundError:  # ended meanwhile
            continue
    return found


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
            answered.acquire()
            samples.append(states(server.process.pid))
        over.set()
        for one in clients:
            one.join()
    assert max(len(sample) for sample in samples) <= INSTANCES + OTHERS
    # One of HTTP and one of gRPC beside the instances, and a little housekeeping.
    assert max(sample.count("R") for sample in samples) <= INSTANCES + 2 + 3
