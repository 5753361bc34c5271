"""The gRPC port, as the public clients use it."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, answers_together, ask, flat_request, metric, received, tensors, typed_request, wait_for

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.server_process import ServerError, ServerProcess, server_binary


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    # One instance: a request shared out over two may be rounded otherwise than the debug runtime does.
    with ServerProcess(tiny, "--http-port", "off", "--instances", "1") as running:
        yield running


@pytest.fixture(scope="module")
def runtime(tiny) -> DebugRuntime:
    return DebugRuntime(tiny)


@pytest.fixture(scope="module")
def stub(server) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_health_and_metadata(server):
    client = triton.InferenceServerClient(server.grpc_url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny_dlrm")
    assert client.is_model_ready("tiny_dlrm", "1")
    assert not client.is_model_ready("tiny_dlrm", "2")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "recpile"
    metadata = client.get_model_metadata("tiny_dlrm", as_json=True)
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": "dense", "datatype": "FP32", "shape": ["-1", "4"]},
        {"name": "sparse.values", "datatype": "INT64", "shape": ["-1"]},
        {"name": "sparse.lengths", "datatype": "INT64", "shape": ["5", "-1"]},
    ]
    assert metadata["outputs"] == [{"name": "score", "datatype": "FP32", "shape": ["-1"]}]
    config = client.get_model_config("tiny_dlrm", as_json=True)["config"]
    assert config["input"][0] == {"name": "dense", "data_type": "TYPE_FP32", "dims": ["-1", "4"]}
    with pytest.raises(InferenceServerException, match="this server has 'tiny_dlrm'"):
        client.get_model_metadata("other")


def test_the_standard_health_service_for_probes(server):
    with grpc.insecure_channel(server.grpc_url) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=PATIENCE) == b"\x08\x01"  # status: SERVING
        assert check(b"\x0a\x1e" + b"inference.GRPCInferenceService", timeout=PATIENCE) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as error:
            check(b"\x0a\x05other", timeout=PATIENCE)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        # Not offered; a client that asks for it must not be left waiting.
        with pytest.raises(grpc.RpcError) as error:
            list(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=PATIENCE))
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_none_is_the_clients_fault(server):
    with grpc.insecure_channel(server.grpc_url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for message in (b"\xff" * 40, b"\x0a\x7fshort", b"\x0a\x09tiny_dlrm\x3a\xff\xff\xff\xff\x07"):
            with pytest.raises(grpc.RpcError) as error:
                infer(message, timeout=PATIENCE)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "no ModelInferRequest" in (error.value.details() or "")


def test_names_that_are_no_text_are_refused_and_do_not_fill_the_log(tiny, tmp_path):
    with ServerProcess(tiny, log=tmp_path / "log") as server:
        with grpc.insecure_channel(server.grpc_url) as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError) as error:
                infer(b"\x0a\x02\xff\xfe", timeout=PATIENCE)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert server.stop() == 0
    assert "UTF-8" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
def test_answers_are_the_debug_runtimes(server, runtime, batch):
    flat = random_inputs(runtime.manifest, batch, seed=batch)
    client = triton.InferenceServerClient(server.grpc_url)
    answer = client.infer("tiny_dlrm", tensors(triton, flat), request_id="42")
    assert answer.get_response().id == "42"
    assert answer.get_response().model_version == "1"
    np.testing.assert_array_equal(answer.as_numpy("score"), runtime.run(flat)["score"].numpy())


def test_the_asyncio_client(server, runtime):
    flat = random_inputs(runtime.manifest, 3)
    answers = answers_together(triton_aio, server, server.grpc_url, flat, 20)
    assert len(answers) == 20
    for answer in answers:
        np.testing.assert_allclose(answer, runtime.run(flat)["score"].numpy(), atol=2e-6, rtol=0)


def test_typed_contents(stub, runtime):
    answer = stub.ModelInfer(typed_request(), timeout=PATIENCE)
    (score,) = answer.raw_output_contents
    assert (answer.id, answer.outputs[0].name, list(answer.outputs[0].shape)) == ("typed", "score", [2])
    np.testing.assert_array_equal(np.frombuffer(score, np.float32), runtime.run(flat_request())["score"].numpy())


def test_statistics_count_requests_and_candidates(tiny):
    with ServerProcess(tiny, "--http-port", "off") as server:
        client = triton.InferenceServerClient(server.grpc_url)
        for _ in range(3):
            client.infer("tiny_dlrm", tensors(triton, flat_request()))
        with pytest.raises(InferenceServerException):
            client.infer("tiny_dlrm", tensors(triton, flat_request())[:1])
        (stats,) = client.get_inference_statistics("tiny_dlrm").model_stats
    assert (stats.name, stats.version, stats.inference_count, stats.execution_count) == ("tiny_dlrm", "1", 6, 3)
    assert stats.inference_stats.success.count == 3
    assert stats.inference_stats.success.ns > 0
    assert stats.inference_stats.fail.count == 1


def test_http_and_grpc_requests_meet_in_one_batch(tiny, runtime):
    flat = random_inputs(runtime.manifest, 2)
    # One of each, of two candidates, are a batch; neither goes before.
    options = ("--instances", "1", "--preferred-batch-size", "4", "--max-queue-delay-microseconds", "60000000")
    with ServerProcess(tiny, *options) as server, ThreadPoolExecutor(2) as pool:
        for batches in range(1, 11):
            for asked in [pool.submit(ask, server, protocol, flat) for protocol in (triton, triton_http)]:
                np.testing.assert_allclose(asked.result(), runtime.run(flat)["score"].numpy(), atol=2e-6, rtol=0)
            assert metric(server, "exec_count") == batches


def test_clients_that_cancel_do_no_harm(server, stub):
    for _ in range(50):
        stub.ModelInfer.future(typed_request()).cancel()
    stub.ModelInfer(typed_request(), timeout=PATIENCE)


def test_what_is_no_grpc_is_closed_and_does_no_harm(server, stub):
    host, port = server.grpc_url.split(":")
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(nonsense)
            received(connection)
    stub.ModelInfer(typed_request(), timeout=PATIENCE)


def test_a_client_that_says_nothing_is_cut_off(tiny):
    with ServerProcess(tiny, "--http-port", "off", "--request-timeout-seconds", "1") as server:
        host, port = server.grpc_url.split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            received(connection)  # the server's own greeting, and then the end


def test_sigterm_answers_what_was_accepted_and_exits_0(tiny, runtime):
    flat = random_inputs(runtime.manifest, 200)
    with ServerProcess(tiny, "--http-port", "off", "--instances", "1") as server:
        outcomes: list[str] = []

        def client() -> None:
            connection = triton.InferenceServerClient(server.grpc_url)
            while True:  # until the first refusal: the server ends
                try:
                    assert len(connection.infer("tiny_dlrm", tensors(triton, flat)).as_numpy("score")) == 200
                    outcomes.append("answered")
                except InferenceServerException as error:
                    outcomes.append(str(error.status()))
                    return

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for("50 answers", lambda: len(outcomes) >= 50)
        assert server.stop() == 0
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"answered", "StatusCode.UNAVAILABLE"}


def test_a_grpc_port_in_use_is_exit_code_3(server, tiny):
    port = server.grpc_url.split(":")[1]
    with pytest.raises(ServerError, match=f"(?s)exited with 3.*127.0.0.1:{port}.*choose another --grpc-port"):
        ServerProcess(tiny, "--grpc-port", port).__enter__()


def test_both_protocols_off_is_a_mistake(tiny):
    command = [str(server_binary()), str(tiny), "--http-port", "off", "--grpc-port", "off"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "cannot both be off" in ran.stderr
