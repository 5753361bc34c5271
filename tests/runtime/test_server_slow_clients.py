"""Clients that are slow, stuck or silent: they are cut off after --request-timeout-seconds, and harm nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from raw_calls import RawCalls, connect
from wire import ask, flat_request, received

from recpile.pycompiler.server_process import ServerProcess

# HTTP/2: the client's greeting, and its settings, of which there are none.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
HEAD = b"POST /v2/models/tiny_dlrm/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny, "--request-timeout-seconds", "1") as running:
        yield running
        for protocol in (triton_http, triton_grpc):
            assert unless_late(lambda protocol=protocol: ask(running, protocol, flat_request())).shape == (2,)


def unless_late(action: Callable[[], Any]) -> Any:
    """What the action gives. On a busy machine it may itself be slow enough to be cut off; then it is tried again."""
    for _ in range(9):
        with contextlib.suppress(Exception):
            return action()
    return action()


@pytest.mark.parametrize(
    "sent", [b"", HEAD[:30], HEAD, HEAD + b"{"], ids=["nothing", "half a header", "no body", "half"]
)
def test_an_http_client_that_stops_in_the_middle(server, sent):
    with connect(server.url) as connection:
        connection.sendall(sent)
        assert received(connection) == b""


def test_an_http_client_that_idles_after_an_answer(server):
    def ask_once() -> bytes:
        with connect(server.url) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = received(connection)
            assert answer.startswith(b"HTTP/1.1")
            return answer

    assert unless_late(ask_once).startswith(b"HTTP/1.1 200 OK")


def test_an_http_client_that_does_not_take_its_answers(server):
    ask_for, answers = b"GET /v2/models/tiny_dlrm/config HTTP/1.1\r\nHost: x\r\n\r\n", 0
    with connect(server.url) as connection:
        # More than the kernel holds for either side; the server reads no further once it cannot write.
        try:
            for _ in range(200_000):
                connection.sendall(ask_for)
        except (TimeoutError, ConnectionError):
            pass
        else:
            answers = received(connection).count(b"HTTP/1.1 200 OK")
            assert answers < 200_000


@pytest.mark.parametrize("sent", [PREFACE[:10], PREFACE, PREFACE + SETTINGS], ids=["half", "greeting", "settings"])
def test_a_grpc_client_that_says_no_more_and_answers_no_ping(server, sent):
    with connect(server.grpc_url) as connection:
        connection.sendall(sent)
        received(connection)


OK, CANCELLED, DEADLINE_EXCEEDED = "0", "1", "4"
NO_FIELDS = b"\0" + (0).to_bytes(4, "big")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata"])
@pytest.mark.parametrize(
    "sent",
    [b"", NO_FIELDS[:3], b"\0" + (60 << 20).to_bytes(4, "big") + bytes(10_000)],
    ids=["nothing", "a part", "half"],
)
def test_a_grpc_client_that_stops_in_the_middle_of_a_message_and_answers_pings(server, method, sent):
    with connect(server.grpc_url) as connection:
        calls = RawCalls(connection)
        ended = calls.end(calls.begin(method, sent))
        assert ended is not None
        assert ended["grpc-status"] == DEADLINE_EXCEEDED
        assert "--request-timeout-seconds" in ended["grpc-message"]
        # Its connection is as good as before.
        ended = calls.end(calls.begin("ServerLive", NO_FIELDS, whole=True))
        assert ended is not None
        assert ended["grpc-status"] == OK


def test_a_grpc_client_that_does_not_take_its_answer_and_answers_pings(server):
    with connect(server.grpc_url) as connection:
        calls = RawCalls(connection, INITIAL_WINDOW_SIZE=0)
        ended = calls.end(calls.begin("ServerLive", NO_FIELDS, whole=True))
        assert ended is not None
        assert ended["grpc-status"] == CANCELLED
