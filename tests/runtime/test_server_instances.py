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
from wire import flat_request, tensors

from recpile.pycompiler.server_process import ServerProcess

CORES = len(os.sched_getaffinity(0))


def nice_values(pid: int) -> Counter[int]:
    """How many threads of a process have which nice value."""
    found: Counter[int] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int((task / "stat").read_text().rpartition(")")[2].split()[16])] += 1
        except FileNotFoundError:  # ended meanwhile
            continue
    return found


def cores_of_threads(pid: int) -> list[str]:
    """The affinity of every thread of a process: "0-1", "1"."""
    status = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [found[1] for one in status if (found := re.search(r"^Cpus_allowed_list:\s*(\S+)$", one, re.M))]


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    for name in ("ranker", "retrieval"):
        (tmp_path / name).mkdir()
        shutil.copy(tiny, tmp_path / name / "1.pt2")
    return tmp_path


def test_a_model_loads_at_low_priority_and_is_served_at_the_usual_one(folder, tiny):
    options = ("--model-repository", str(folder), "--model-control", "explicit", "--load-model", "ranker")
    with ServerProcess(None, *options, "--instances", "2", "--load-nice", "7") as server:
        client = triton_http.InferenceServerClient(server.url, network_timeout=120)
        # What frees a version that was replaced.
        assert nice_values(server.process.pid)[7] == 1
        shutil.copy(tiny, folder / "ranker" / "2.pt2")
        loader = threading.Thread(target=client.load_model, args=("ranker",))
        loader.start()
        most = 0
        while loader.is_alive():
            most = max(most, nice_values(server.process.pid)[7])
        loader.join()
        assert most >= 2
        with triton_http.InferenceServerClient(server.url) as other:
            answer = other.infer("ranker", tensors(triton_http, flat_request())).get_response()
        assert answer["model_version"] == "2"
        # Forever, if what serves had been started by what loads: it would share its priority.
        while nice_values(server.process.pid)[7] != 1:
            pass


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
        pinned: list[str] = []
        while len(pinned) < 2:  # each pins itself when it begins to run
            pinned = [cores for cores in cores_of_threads(server.process.pid) if cores.isdigit()]
        assert len(pinned) == len(set(pinned)) == 2
        client = triton_http.InferenceServerClient(server.url)
        assert client.infer("tiny_dlrm", tensors(triton_http, flat_request())).as_numpy("score").shape == (2,)
    with ServerProcess(tiny, "--instances", "2") as server:
        assert not [cores for cores in cores_of_threads(server.process.pid) if cores.isdigit()]


def test_models_that_together_have_more_instances_than_cores_are_told(folder, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(None, "--model-repository", str(folder), "--instances", str(CORES), log=log):
        assert f"and 1 others have {2 * CORES} instances on" in log.read_text()
    (tmp_path / "retrieval" / "1.pt2").unlink()
    (tmp_path / "retrieval").rmdir()
    with ServerProcess(None, "--model-repository", str(folder), "--instances", str(CORES), log=log):
        assert "others have" not in log.read_text()
