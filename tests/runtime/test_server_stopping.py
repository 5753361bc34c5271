"""SIGTERM: what becomes of requests that have been accepted, of probes, and of a server that would not end."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from pki import Pki
from torch import Tensor, nn
from wire import PATIENCE, ask, flat_request, json_request, tensors, wait_for, wait_until

from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.schema import Dense, InputSchema
from recpile.pycompiler.server_process import ServerProcess

PATH = "/v2/models/tiny_dlrm/infer"
HALF_AN_HOUR = str(1_800_000_000)


def connect(server: ServerProcess, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    host, _, port = server.url.rpartition(":")
    if context is None:
        return http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    return http.client.HTTPSConnection(host, int(port), timeout=PATIENCE, context=context)


class Late:
    """A request that has begun to arrive, and does so when it is told to."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection, self._body = connect(server), json.dumps(json_request()).encode()
        self._connection.putrequest("POST", PATH)
        self._connection.putheader("Content-Length", str(len(self._body)))
        self._connection.endheaders()

    def arrive(self) -> None:
        self._connection.send(self._body)

    def status(self) -> int:
        return self._connection.getresponse().status


def scores(connection: http.client.HTTPConnection) -> tuple[list[float], bool]:
    """What a request is answered, and whether its connection may be used for another."""
    connection.request("POST", PATH, json.dumps(json_request()))
    answer = connection.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())["outputs"][0]["data"], answer.headers["Connection"] != "close"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_requests_that_wait_are_all_answered(tiny, tmp_path, tls):
    pki = Pki(tmp_path) if tls else None
    wanted = DebugRuntime(tiny).run(flat_request())["score"].numpy()
    # They wait for company, and would for longer than the grace period; a server that stops holds nothing back.
    options = ("--instances", "1", "--max-queue-delay-microseconds", HALF_AN_HOUR, *(pki.flags if pki else ()))
    with ServerProcess(tiny, *options) as server, ThreadPoolExecutor(16) as pool:

        def over_http() -> list[float]:
            return scores(connect(server, pki.context() if pki else None))[0]

        def over_grpc() -> list[float]:
            secure = {"ssl": True, "root_certificates": str(pki.ca)} if pki else {}
            with triton_grpc.InferenceServerClient(server.grpc_url, **secure) as client:
                return client.infer("tiny_dlrm", tensors(triton_grpc, flat_request())).as_numpy("score").tolist()

        asked = [pool.submit(one) for one in (over_http, over_grpc) * 8]
        wait_until(server, "pending_request_count", 16)
        assert not any(one.done() for one in asked)
        assert server.stop(PATIENCE) == 0
        for one in asked:
            np.testing.assert_allclose(one.result(), wanted, atol=2e-6, rtol=0)


def test_under_load_every_request_that_a_client_sent_on_a_kept_connection_is_answered(tiny, tmp_path):
    # The last call is 0.2 s: a client that this machine keeps waiting for longer, between two requests, finds its
    # connection closed. Such a one says nothing of the others, and once more none may be kept waiting.
    assert any(stopped_under_load(tiny, tmp_path / "log") == 0 for _ in range(10))


def stopped_under_load(tiny: Path, log: Path) -> int:
    """How many of eight busy clients found their connection closed when the server stopped."""
    answered = [0] * 8
    with (
        ServerProcess(tiny, "--instances", "1", "--grpc-port", "off", log=log) as server,
        ThreadPoolExecutor(8) as pool,
    ):

        def client(number: int) -> bool:
            connection, usable = connect(server), True
            while usable:
                try:
                    _, usable = scores(connection)
                except ConnectionError:
                    return False
                answered[number] += 1
            return True

        clients = [pool.submit(client, number) for number in range(len(answered))]
        wait_for("answers to all clients", lambda: min(answered) >= 10 or any(one.done() for one in clients))
        assert server.stop() == 0
        whole = [one.result() for one in clients]
    counted = re.search(r"stopped; (\d+) requests answered, 0 failed, 0 refused", log.read_text())
    assert counted is not None, log.read_text()
    assert int(counted[1]) == sum(answered)  # those who found it closed had none under way
    return whole.count(False)


def is_refused(server: ServerProcess) -> bool:
    try:
        connect(server).connect()
    except ConnectionRefusedError:
        return True
    return False


def test_while_it_stops_probes_are_told_and_new_connections_are_not_taken(tiny):
    with ServerProcess(tiny, "--instances", "1", "--grace-seconds", str(PATIENCE)) as server:
        late, probe = Late(server), connect(server)
        probe.connect()
        probe.send(b"GET /v2/health/ready HTTP/1.1\r\n")  # has begun ...
        server.process.send_signal(signal.SIGTERM)
        with grpc.insecure_channel(server.grpc_url) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")

            def state() -> bytes:
                try:
                    return check(b"", timeout=PATIENCE)
                except grpc.RpcError as error:
                    return error.code().name.encode()

            wait_for("probe that is told", lambda: state() in (b"\x08\x02", b"UNAVAILABLE"))  # 2: NOT_SERVING
        wait_for("new connections to be refused", lambda: is_refused(server))
        probe.send(b"Host: x\r\n\r\n")  # ... and goes on when the server is about to end
        answer = http.client.HTTPResponse(probe.sock)
        answer.begin()
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        late.arrive()  # all this time it has kept the server from its end
        assert late.status() == 200
        assert server.process.wait(PATIENCE) == 0


class Slow(nn.Module):
    """Twenty thousand hyperbolic tangents a candidate."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.unsqueeze(1) * torch.arange(20_000)).mean(1)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow") / "slow.pt2"
    return compile_model(Slow(), InputSchema([Dense("x")]), path, CompileOptions("slow")).path


def wait_for_text(log: Path, text: str) -> None:
    wait_for(f"'{text}' in the log", lambda: text in log.read_text())


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_after_the_grace_period_it_ends_whatever_is_left(slow, tmp_path, protocol):
    log = tmp_path / "log"
    with ServerProcess(slow, "--instances", "1", "--grace-seconds", "1", log=log) as server:
        abandon(server, protocol)
        assert server.stop(PATIENCE) == 1
    assert "not every request was answered within the grace period of 1 s" in log.read_text()


def test_a_second_signal_ends_it_at_once(slow, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(slow, "--instances", "1", "--grace-seconds", str(PATIENCE), log=log) as server:
        abandon(server, "http")
        server.process.send_signal(signal.SIGTERM)
        wait_for_text(log, "signal 15: shutting down")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM


def abandon(server: ServerProcess, protocol: str) -> None:
    """Sends a request that will not be answered before the server's end: it takes minutes."""

    client = triton_http if protocol == "http" else triton_grpc

    def send() -> None:
        with contextlib.suppress(Exception):
            ask(server, client, {"x": np.ones(10_000_000, np.float32)})

    threading.Thread(target=send, daemon=True).start()
    wait_until(server, "pending_request_count", 1)
