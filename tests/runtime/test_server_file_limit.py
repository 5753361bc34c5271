"""Clients that take all the connections there may be."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
from collections.abc import Callable

import pytest
import tritonclient.grpc as triton_grpc
from wire import PATIENCE, flat_request, json_request, post, scrape, tensors, wait_for

from recpile.pycompiler.server_process import ServerProcess


def open_files(process: subprocess.Popen) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def answers_http(server: ServerProcess) -> None:
    assert post(server, json_request())[0] == 200


def answers_grpc(server: ServerProcess) -> None:
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()), client_timeout=PATIENCE)


def answers_metrics(server: ServerProcess) -> None:
    assert scrape(server)


@pytest.mark.parametrize(
    ("port", "answers"),
    [("url", answers_http), ("grpc_url", answers_grpc), ("metrics_url", answers_metrics)],
    ids=["http", "grpc", "metrics"],
)
def test_clients_that_take_all_its_file_descriptors_shut_nobody_out_for_good(
    tiny, port: str, answers: Callable[[ServerProcess], None]
):
    with ServerProcess(tiny) as server:
        answers(server)
        limit = open_files(server.process) + 8
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        host, number = getattr(server, port).split(":")
        with contextlib.ExitStack() as crowd:
            for _ in range(24):
                crowd.enter_context(socket.create_connection((host, int(number)), timeout=PATIENCE))
            wait_for("no file descriptor to be left", lambda: open_files(server.process) == limit)
        answers(server)
        assert server.stop() == 0


def test_it_takes_as_many_file_descriptors_as_it_may_have(tiny):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(300, soft), hard))  # what it inherits
    try:
        with ServerProcess(tiny) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
