"""How many bytes of requests the server holds at once: --max-pending-bytes, whatever clients send."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from raw_calls import RawCalls, connect
from tritonclient.utils import InferenceServerException
from wire import ask, flat_request, scrape, wait_for

from recpile.pycompiler.server_process import ServerProcess

MIB = 1 << 20
ROOM = 16 * MIB
PART = 12 * MIB


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    options = ("--max-pending-bytes", str(ROOM), "--max-request-bytes", str(ROOM), "--request-timeout-seconds", "90")
    with ServerProcess(tiny, *options) as running:
        yield running


def held(server: ServerProcess) -> float:
    return scrape(server)["recpile_pending_bytes"]


def resident(server: ServerProcess) -> int:
    """Bytes of memory that the server has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def rows(count: int) -> dict[str, np.ndarray]:
    """A request of so many candidates, of 96 bytes each, over gRPC."""
    values, lengths = np.zeros(5 * count, np.int64), np.ones((5, count), np.int64)
    return {"dense": np.zeros((count, 4), np.float32), "sparse.values": values, "sparse.lengths": lengths}


def answers_over_grpc(server: ServerProcess) -> bool:
    with contextlib.suppress(InferenceServerException):
        return ask(server, triton_grpc, flat_request()).shape == (2,)
    return False


def part_of_a_request(server: ServerProcess, count: int) -> http.client.HTTPConnection:
    """So many bytes of a request of ROOM, and no more."""
    connection = http.client.HTTPConnection(server.url, timeout=120)
    connection.putrequest("POST", "/v2/models/tiny_dlrm/infer")
    connection.putheader("Content-Length", str(ROOM))
    connection.endheaders()
    connection.send(bytes(count))
    return connection


def test_over_http_a_body_is_refused_where_others_leave_no_room_and_small_requests_go_on(server):
    assert scrape(server)["recpile_pending_bytes_limit"] == ROOM
    first = part_of_a_request(server, PART)
    wait_for("room taken", lambda: held(server) == PART)
    second = part_of_a_request(server, PART)
    answer = second.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert f"{ROOM} (--max-pending-bytes)" in json.loads(answer.read())["error"]
    assert ask(server, triton_http, flat_request()).shape == (2,)
    first.close()
    second.close()
    wait_for("room", lambda: held(server) == 0)


def test_over_grpc_calls_are_ended_where_others_leave_no_room(server):
    assert ask(server, triton_grpc, flat_request()).shape == (2,)
    before, taken = resident(server), 0
    with contextlib.ExitStack() as connections:
        for _ in range(8):
            calls = RawCalls(connections.enter_context(connect(server.grpc_url)))
            message_of_15_mib = b"\0" + (15 * MIB).to_bytes(4, "big")
            taken += calls.send(calls.begin("ModelInfer", message_of_15_mib), PART)
        grown = resident(server) - before
    assert taken > 2 * ROOM
    assert grown < taken / 2
    wait_for("answer, now that they have gone", lambda: answers_over_grpc(server))


@pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
def test_one_request_may_take_nearly_all_of_it(server, protocol):
    assert ask(server, protocol, rows(100_000)).shape == (100_000,)
    wait_for("room", lambda: held(server) == 0)


def test_compressed_messages_are_refused_before_they_are_unpacked(server):
    large = rows(100_000)  # zeros: a few KiB once they are compressed
    before = resident(server)
    with pytest.raises(InferenceServerException, match="gzip"):
        ask(server, triton_grpc, large, compression_algorithm="gzip")
    assert resident(server) - before < 5 * MIB
    assert ask(server, triton_grpc, flat_request()).shape == (2,)


def test_a_message_of_another_call_than_infer_may_have_64_kib(server):
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:
        assert not client.is_model_ready("x" * 60_000)
        with pytest.raises(InferenceServerException, match="larger than 64 KiB"):
            client.is_model_ready("x" * 70_000)
