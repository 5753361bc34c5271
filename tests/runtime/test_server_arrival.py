"""A request's timeout counts from when its last byte came, however late the server finds the time to read it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from wire import json_request

from recpile.pycompiler.server_process import ServerProcess

PATH = "/v2/models/tiny_dlrm/infer"


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny, "--instances", "1") as running:
        yield running


@contextmanager
def stands_still(server: ServerProcess) -> Iterator[None]:
    """As on a machine that has no time for it; every thread has stopped when it begins."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@contextmanager
def connected(server: ServerProcess) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(server.url, timeout=120)
    connection.request("GET", "/v2/health/live")
    assert connection.getresponse().read() == b""
    yield connection
    connection.close()


def body(timeout_us: int) -> bytes:
    return json.dumps({**json_request(), "parameters": {"timeout": timeout_us}}).encode()


def test_what_waited_at_the_socket_for_longer_than_its_timeout_is_refused(server):
    with connected(server) as connection:
        with stands_still(server):
            connection.request("POST", PATH, body(300_000))
            time.sleep(1)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert (answer.status, "longer than its timeout of 300000 us" in said["error"]) == (503, True), said


def test_without_a_timeout_it_is_answered(server):
    with connected(server) as connection:
        with stands_still(server):
            connection.request("POST", PATH, json.dumps(json_request()))
            time.sleep(1)
        answer = connection.getresponse()
        assert (answer.status, len(json.loads(answer.read())["outputs"])) == (200, 1)


def test_a_client_that_takes_its_time_to_send_has_all_its_timeout_left(server):
    whole = body(3_000_000)
    with connected(server) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Content-Length", str(len(whole)))
        connection.endheaders()
        connection.send(whole[:100])
        time.sleep(3.5)
        connection.send(whole[100:])
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")
