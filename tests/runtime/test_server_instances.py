"""Threads of the server: their priority, their cores, and how many there are for models."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest
import tritonclient.http as triton_http
from wire import PATIENCE, flat_request, of_threads, tensors, wait_for

from recpile.pycompiler.server_process import ServerProcess

CORES = len(os.sched_getaffinity(0))
ONE_CORE = r"^Cpus_allowed_list:\s*(\d+)$"
# Lower than that of these tests, and so little that loading does not starve beside what else runs on the cores.
LOW = os.getpriority(os.PRIO_PROCESS, 0) % 19 + 1


def nice_values(server: ServerProcess) -> Counter[int]:
    """How many threads of the server have which nice value."""
    return Counter(int(one.rpartition(")")[2].split()[16]) for one in of_threads(server, "stat"))


def pinned_to(server: ServerProcess) -> list[str]:
    """The core of every thread of the server that has one of its own."""
    return [found[1] for one in of_threads(server, "status") if (found := re.search(ONE_CORE, one, re.M))]


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    for name in ("ranker", "retrieval"):
        (tmp_path / name).mkdir()
        shutil.copy(tiny, tmp_path / name / "1.pt2")
    return tmp_path


def test_a_model_loads_at_low_priority_and_is_served_at_the_usual_one(folder, tiny):
    options = ("--model-repository", str(folder), "--model-control", "explicit", "--load-model", "ranker")
    with ServerProcess(None, *options, "--instances", "2", "--load-nice", str(LOW)) as server:
        # What frees a version that was replaced.
        wait_for("thread of low priority", lambda: nice_values(server)[LOW] == 1)
        version, most = 1, 0
        while most < 2:  # until it is looked at while it loads
            assert version < 20, "it loads at the usual priority"
            version += 1
            shutil.copy(tiny, folder / "ranker" / f"{version}.pt2")
            most = most_while_loading(server)
        with triton_http.InferenceServerClient(server.url) as client:
            answer = client.infer("ranker", tensors(triton_http, flat_request())).get_response()
        assert answer["model_version"] == str(version)
        # In vain, if what serves had been started by what loads: it would share its priority.
        wait_for("end of what loads", lambda: nice_values(server)[LOW] == 1)


def most_while_loading(server: ServerProcess) -> int:
    """Of threads of low priority."""
    with triton_http.InferenceServerClient(server.url, network_timeout=PATIENCE) as client:
        loader = threading.Thread(target=client.load_model, args=("ranker",))
        loader.start()
        most = 0
        while loader.is_alive():
            most = max(most, nice_values(server)[LOW])
        loader.join()
        return most


@pytest.mark.skipif(CORES < 2, reason="on one core there is nothing to choose")
def test_the_number_of_instances_is_measured_and_logged(tiny, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tiny, log=log):
        measured = re.search(r"instances=(\d+) \(measured side by side: (.*)\)", log.read_text())
    assert measured is not None
    tried = [int(number) for number in re.findall(r"(\d+) do \d+ candidates/s", measured[2])]
    assert tried[-1] == int(measured[1])
    assert max(tried) <= CORES
    with ServerProcess(tiny, "--instances", "2", log=log):
        assert re.search(r"instances=2 pin=false", log.read_text())


@pytest.mark.skipif(CORES < 2, reason="every thread is on the one core")
def test_pinned_instances_keep_to_a_core_each(tiny):
    with ServerProcess(tiny, "--instances", "2", "--pin") as server:
        wait_for("two pinned threads", lambda: len(pinned_to(server)) >= 2)  # each pins itself when it begins to run
        assert len(pinned_to(server)) == len(set(pinned_to(server))) == 2
        client = triton_http.InferenceServerClient(server.url)
        assert client.infer("tiny_dlrm", tensors(triton_http, flat_request())).as_numpy("score").shape == (2,)
    with ServerProcess(tiny, "--instances", "2") as server:
        assert pinned_to(server) == []


def test_models_that_together_have_more_instances_than_cores_are_told(folder, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(None, "--model-repository", str(folder), "--instances", str(CORES), log=log):
        assert f"and 1 others have {2 * CORES} instances on" in log.read_text()
    (tmp_path / "retrieval" / "1.pt2").unlink()
    (tmp_path / "retrieval").rmdir()
    with ServerProcess(None, "--model-repository", str(folder), "--instances", str(CORES), log=log):
        assert "others have" not in log.read_text()
