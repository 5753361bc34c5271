"""A client that goes before it has its answer: its queued requests are not computed."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request

import gevent.ssl
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from pki import Pki
from wire import flat_request, json_request, tensors

from recpile.pycompiler.server_process import ServerProcess

LABELS = 'model="tiny_dlrm",version="1"'
CLIENTS = 8


def metric(server: ServerProcess, name: str) -> float:
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def canceled(server: ServerProcess) -> float:
    return metric(server, f'recpile_inference_request_failure{{{LABELS},reason="CANCELED"}}')


def http_client(server: ServerProcess, pki: Pki | None) -> triton_http.InferenceServerClient:
    if pki is None:
        return triton_http.InferenceServerClient(server.url, network_timeout=120)
    return triton_http.InferenceServerClient(
        server.url,
        network_timeout=120,
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


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("go", [go_over_http, go_over_grpc])
def test_what_a_vanished_client_had_queued_is_not_computed(tiny, go, tls, tmp_path):
    pki = Pki(tmp_path) if tls else None
    # The only instance is busy with many small batches of one request, behind which the others queue up.
    rows = 100_000
    busy = {
        "dense": np.zeros((rows, 4), np.float32),
        "sparse.values": np.zeros(5 * rows, np.int64),
        "sparse.lengths": np.ones((5, rows), np.int64),
    }
    options = ("--instances", "1", "--max-batch-size", "16", "--max-queue-size", "1000000")
    with ServerProcess(tiny, *options, *(pki.flags if pki else ())) as server:

        def send() -> None:
            with http_client(server, pki) as client:
                client.infer("tiny_dlrm", tensors(triton_http, busy))

        sender = threading.Thread(target=send)
        sender.start()
        while metric(server, f"recpile_inference_exec_count{{{LABELS}}}") == 0:
            time.sleep(0.01)
        go(server, pki)
        sender.join()
        while canceled(server) < CLIENTS:
            time.sleep(0.01)
        assert metric(server, f"recpile_inference_count{{{LABELS}}}") == rows
        # A client that stays gets its answer as ever.
        client = http_client(server, pki)
        assert client.infer("tiny_dlrm", tensors(triton_http, flat_request())).as_numpy("score").shape == (2,)
        assert canceled(server) == CLIENTS
