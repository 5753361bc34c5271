"""Clients that take all the connections there may be."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc
from wire import PATIENCE, flat_request, json_request, post, scrape, tensors, wait_for

from recpile.pycompiler.server_process import ServerProcess


def files_of(server: ServerProcess) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{server.process.pid}/fd")}


def answers_http(server: ServerProcess) -> None:
    assert post(server, json_request())[0] == 200


def answers_grpc(server: ServerProcess) -> None:
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()), client_timeout=PATIENCE)


def answers_metrics(server: ServerProcess) -> None:
    assert scrape(server)


ANSWERS = (answers_http, answers_grpc, answers_metrics)


@pytest.mark.parametrize("port", ["url", "grpc_url", "metrics_url"], ids=["http", "grpc", "metrics"])
def test_clients_that_take_all_its_file_descriptors_shut_nobody_out_for_good(tiny, tmp_path: Path, port: str):
    log = tmp_path / "log"
    with ServerProcess(tiny, log=log) as server:
        for answers in ANSWERS:
            answers(server)
        last = max(files_of(server)) + 8
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (last + 1, last + 1))
        host, number = getattr(server, port).split(":")
        with contextlib.ExitStack() as crowd:
            for _ in range(last + 1):
                crowd.enter_context(socket.create_connection((host, int(number)), timeout=PATIENCE))
            wait_for("no file descriptor to be left", lambda: files_of(server) == set(range(last + 1)))
            if port != "metrics_url":  # whose library does not say
                wait_for("accept to have failed", lambda: "cannot accept a connection" in log.read_text())
        for answers in ANSWERS:
            answers(server)
        assert server.stop() == 0


def test_it_takes_as_many_file_descriptors_as_it_may_have(tiny):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    less = 300 if hard == resource.RLIM_INFINITY else hard // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (less, hard))  # what it inherits
    try:
        with ServerProcess(tiny) as server:
            assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
