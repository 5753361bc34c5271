"""TLS on both ports, with certificates of an authority made for the test."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.request
from collections.abc import Iterator

import gevent.ssl
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from pki import Pki
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, flat_request, json_request, received, tensors

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.server_process import ServerError, ServerProcess


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def expected(tiny) -> np.ndarray:
    return DebugRuntime(tiny).run(flat_request())["score"].numpy()


@pytest.fixture(scope="module")
def server(tiny, pki) -> Iterator[ServerProcess]:
    with ServerProcess(tiny, *pki.flags) as running:
        yield running


def post(server: ServerProcess, context: ssl.SSLContext) -> list[float]:
    url = f"https://{server.url}/v2/models/tiny_dlrm/infer"
    with urllib.request.urlopen(url, json.dumps(json_request()).encode(), timeout=PATIENCE, context=context) as answer:
        return json.loads(answer.read())["outputs"][0]["data"]


def test_https(server, pki, expected):
    for _ in range(3):
        np.testing.assert_allclose(post(server, pki.context()), expected, rtol=1e-6)


def test_https_through_the_public_client_which_keeps_its_connection(server, pki, expected):
    factory = lambda: gevent.ssl.create_default_context(cafile=str(pki.ca))  # noqa: E731
    client = triton_http.InferenceServerClient(server.url, ssl=True, ssl_context_factory=factory)
    for _ in range(3):
        answer = client.infer("tiny_dlrm", tensors(triton_http, flat_request()))
        np.testing.assert_array_equal(answer.as_numpy("score"), expected)


def test_grpc(server, pki, expected):
    client = triton_grpc.InferenceServerClient(server.grpc_url, ssl=True, root_certificates=str(pki.ca))
    answer = client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()))
    np.testing.assert_array_equal(answer.as_numpy("score"), expected)


def test_without_tls_there_is_no_answer(server, pki):
    with pytest.raises(InferenceServerException):
        triton_grpc.InferenceServerClient(server.grpc_url).is_server_live()
    host, port = server.url.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in received(connection)
    post(server, pki.context())


def test_old_versions_of_tls_are_refused(server, pki):
    context = pki.context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    host, port = server.url.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=PATIENCE) as connection,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        context.wrap_socket(connection, server_hostname=host),
    ):
        pass


def test_only_clients_of_the_authority_are_let_in_if_so_asked(tiny, pki, expected):
    with ServerProcess(tiny, *pki.flags, "--tls-client-ca", str(pki.ca)) as server:
        np.testing.assert_allclose(post(server, pki.context(with_certificate=True)), expected, rtol=1e-6)
        with pytest.raises(OSError):
            post(server, pki.context())
        certificate, key = map(str, pki.client)
        known = triton_grpc.InferenceServerClient(
            server.grpc_url, ssl=True, root_certificates=str(pki.ca), private_key=key, certificate_chain=certificate
        )
        assert known.is_server_live()
        unknown = triton_grpc.InferenceServerClient(server.grpc_url, ssl=True, root_certificates=str(pki.ca))
        with pytest.raises(InferenceServerException):
            unknown.is_server_live()
        assert server.stop() == 0


def test_a_client_that_never_finishes_its_handshake_is_cut_off(tiny, pki):
    with ServerProcess(tiny, *pki.flags, "--request-timeout-seconds", "1") as server:
        for url in (server.url, server.grpc_url):
            host, port = url.split(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
                connection.sendall(b"\x16\x03\x01")
                received(connection)


def test_bad_files_are_exit_code_2_and_named(tiny, pki, tmp_path):
    certificate, key = map(str, pki.server)
    (tmp_path / "text.pem").write_text("no PEM")
    for options, said in [
        (("--tls-certificate", certificate), "--tls-certificate and --tls-key go together"),
        (("--tls-client-ca", str(pki.ca)), "--tls-client-ca needs --tls-certificate"),
        (("--tls-certificate", "gone.pem", "--tls-key", key), "cannot read gone.pem"),
        (("--tls-certificate", str(tmp_path / "text.pem"), "--tls-key", key), "text.pem holds no PEM"),
        (("--tls-certificate", certificate, "--tls-key", str(pki.client[1])), "cannot be used"),
    ]:
        with pytest.raises(ServerError, match=f"(?s)exited with 2.*{said}"):
            ServerProcess(tiny, *options).__enter__()
