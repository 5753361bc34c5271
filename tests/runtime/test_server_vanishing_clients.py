"""A client that goes before it has its answer: its queued requests are not computed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

import gevent.ssl
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from pki import Pki
from wire import PATIENCE, flat_request, json_request, metric, scrape, tensors, wait_for, wait_until

from recpile.pycompiler.server_process import ServerProcess

LABELS = 'model="tiny_dlrm",version="1"'
CLIENTS = 8


def canceled(server: ServerProcess) -> float:
    return scrape(server)[f'recpile_inference_request_failure{{{LABELS},reason="CANCELED"}}']


def over(server: ServerProcess) -> float:
    """Requests that have had whatever becomes of them."""
    outcomes = ("recpile_inference_request_success", "recpile_inference_request_failure")
    return sum(value for name, value in scrape(server).items() if name.startswith(outcomes))


def http_client(server: ServerProcess, pki: Pki | None) -> triton_http.InferenceServerClient:
    if pki is None:
        return triton_http.InferenceServerClient(server.url, network_timeout=PATIENCE)
    return triton_http.InferenceServerClient(
        server.url,
        network_timeout=PATIENCE,
        ssl=True,
        ssl_context_factory=lambda: gevent.ssl.create_default_context(cafile=str(pki.ca)),
    )


def go_over_http(server: ServerProcess, pki: Pki | None) -> None:
    host, _, port = server.url.rpartition(":")
    body = json.dumps(json_request())
    head = f"POST /v2/models/tiny_dlrm/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(CLIENTS):
        with socket.create_connection((host, int(port))) as plain:
            client = plain if pki is None else pki.context().wrap_socket(plain, server_hostname=host)
            client.sendall((head + body).encode())
            client.close()


def go_over_grpc(server: ServerProcess, pki: Pki | None) -> None:
    tls = {} if pki is None else {"ssl": True, "root_certificates": str(pki.ca)}
    clients = [triton_grpc.InferenceServerClient(server.grpc_url, **tls) for _ in range(CLIENTS)]
    for client in clients:
        assert client.is_server_live()
    calls = [
        client.async_infer("tiny_dlrm", tensors(triton_grpc, flat_request()), lambda **_: None) for client in clients
    ]
    for client, call in zip(clients, calls, strict=True):
        assert client.is_server_live()  # on the same connection: the call before it has arrived too
        call.cancel()


def computed_of_those_who_go(server: ServerProcess, go: Callable, pki: Pki | None, rows: int) -> float:
    """How many candidates of CLIENTS that vanish were computed all the same, while the only instance was busy with many
    small batches of one request of so many candidates, behind which they queue up."""
    busy = {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, rows), np.int64),
    }

    def send() -> None:
        with http_client(server, pki) as client:
            client.infer("tiny_dlrm", tensors(triton_http, busy))

    before, batches, known = metric(server, "count"), metric(server, "exec_count"), over(server)
    sender = threading.Thread(target=send)
    sender.start()
    wait_until(server, "exec_count", batches + 1)
    go(server, pki)
    sender.join()
    wait_for("end of every request", lambda: over(server) == known + CLIENTS + 1)
    return metric(server, "count") - before - rows


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("go", [go_over_http, go_over_grpc])
def test_what_a_vanished_client_had_queued_is_not_computed(tiny, go, tls, tmp_path):
    pki = Pki(tmp_path) if tls else None
    options = ("--instances", "1", "--max-batch-size", "16", "--max-queue-size", "1000000")
    with ServerProcess(tiny, *options, *(pki.flags if pki else ())) as server:
        # The machine may take longer for the clients than for a request that was meant to outlast them.
        for rows in (100_000, 200_000, 400_000, 800_000):
            before = canceled(server)
            computed = computed_of_those_who_go(server, go, pki, rows)
            if computed == 0:
                break
        assert computed == 0
        assert canceled(server) == before + CLIENTS
        # A client that stays gets its answer as ever.
        client = http_client(server, pki)
        assert client.infer("tiny_dlrm", tensors(triton_http, flat_request())).as_numpy("score").shape == (2,)
        assert canceled(server) == before + CLIENTS
