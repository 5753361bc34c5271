"""The gRPC port, as the public clients use it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException
from wire import flat_request, tensors

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.server_process import ServerError, ServerProcess, server_binary

messages: Any = service_pb2  # generated: a type checker sees none of its classes


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny, "--http-port", "off") as running:
        yield running


@pytest.fixture(scope="module")
def runtime(tiny) -> DebugRuntime:
    return DebugRuntime(tiny)


@pytest.fixture(scope="module")
def stub(server) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def typed_request() -> Any:
    """flat_request with typed contents."""
    request = messages.ModelInferRequest(model_name="tiny_dlrm", id="typed")
    fields = {"float32": ("FP32", "fp32_contents"), "int64": ("INT64", "int64_contents")}
    for name, array in flat_request().items():
        datatype, field = fields[str(array.dtype)]
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        getattr(tensor.contents, field).extend(array.ravel().tolist())
    return request


def refusal(stub, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request, timeout=20)
    return error.value.code(), error.value.details() or ""


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
        assert check(b"", timeout=20) == b"\x08\x01"  # status: SERVING
        assert check(b"\x0a\x1e" + b"inference.GRPCInferenceService", timeout=20) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as error:
            check(b"\x0a\x05other", timeout=20)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        # Not offered; a client that asks for it must not be left waiting.
        with pytest.raises(grpc.RpcError) as error:
            list(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20))
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_none_is_the_clients_fault(server):
    with grpc.insecure_channel(server.grpc_url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for message in (b"\xff" * 40, b"\x0a\x7fshort", b"\x0a\x09tiny_dlrm\x3a\xff\xff\xff\xff\x07"):
            with pytest.raises(grpc.RpcError) as error:
                infer(message, timeout=20)
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "no ModelInferRequest" in (error.value.details() or "")


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

    async def ask() -> list[np.ndarray]:
        async with triton_aio.InferenceServerClient(server.grpc_url) as client:
            calls = [client.infer("tiny_dlrm", tensors(triton_aio, flat)) for _ in range(20)]
            return [answer.as_numpy("score") for answer in await asyncio.gather(*calls)]

    answers = asyncio.run(ask())
    assert len(answers) == 20
    for answer in answers:
        np.testing.assert_allclose(answer, runtime.run(flat)["score"].numpy(), atol=2e-6, rtol=0)


def test_typed_contents(stub, runtime):
    answer = stub.ModelInfer(typed_request(), timeout=20)
    (score,) = answer.raw_output_contents
    assert (answer.id, answer.outputs[0].name, list(answer.outputs[0].shape)) == ("typed", "score", [2])
    np.testing.assert_array_equal(np.frombuffer(score, np.float32), runtime.run(flat_request())["score"].numpy())


def spoil(change) -> Any:
    request = typed_request()
    change(request)
    return request


BAD = {
    "another model": (lambda r: setattr(r, "model_name", "other"), "NOT_FOUND", "model 'other' is not served here"),
    "another version": (lambda r: setattr(r, "model_version", "7"), "NOT_FOUND", "has no version '7'"),
    "an unknown input": (lambda r: setattr(r.inputs[0], "name", "dens"), "INVALID_ARGUMENT", "unknown input 'dens'"),
    "a missing input": (lambda r: r.inputs.pop(), "INVALID_ARGUMENT", "input 'sparse.lengths' is missing"),
    "no inputs": (lambda r: r.ClearField("inputs"), "INVALID_ARGUMENT", "the request has no inputs"),
    "an input twice": (lambda r: r.inputs.append(r.inputs[0]), "INVALID_ARGUMENT", "'dense' is given twice"),
    "a datatype that is none": (
        lambda r: setattr(r.inputs[0], "datatype", "FP8"),
        "INVALID_ARGUMENT",
        'datatype "FP8" is not supported',
    ),
    "a negative dimension": (
        lambda r: r.inputs[0].shape.__setitem__(0, -1),
        "INVALID_ARGUMENT",
        "shape[0] is -1; a dimension is an integer of at least 0",
    ),
    "a huge shape": (
        lambda r: r.inputs[0].shape.extend([2**40, 2**40]),
        "INVALID_ARGUMENT",
        "has more elements than memory",
    ),
    "values of another number": (
        lambda r: r.inputs[0].contents.fp32_contents.append(1),
        "INVALID_ARGUMENT",
        "fp32_contents has 9 values, but shape [2, 4] needs 8",
    ),
    "values in another field": (
        lambda r: r.inputs[0].contents.fp64_contents.append(1),
        "INVALID_ARGUMENT",
        "contents of FP32 belong in fp32_contents",
    ),
    "a raw tensor for one input only": (
        lambda r: r.raw_input_contents.append(b"\0" * 32),
        "INVALID_ARGUMENT",
        "the request has 1 raw_input_contents for 3 inputs",
    ),
    "raw and typed contents": (
        lambda r: r.raw_input_contents.extend([b"\0" * 32, b"\0" * 80, b"\0" * 80]),
        "INVALID_ARGUMENT",
        "send one of them",
    ),
    "an unknown output": (lambda r: r.outputs.add(name="x"), "INVALID_ARGUMENT", "has no output 'x'; it has 'score'"),
    "an output twice": (
        lambda r: r.outputs.extend([type(r).InferRequestedOutputTensor(name="score")] * 2),
        "INVALID_ARGUMENT",
        "asked for twice",
    ),
    "classification": (
        lambda r: (
            r.outputs.add(name="score").parameters["classification"].CopyFrom(messages.InferParameter(int64_param=1))
        ),
        "UNIMPLEMENTED",
        "classification is not supported",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named_and_the_server_serves_on(stub, what):
    change, code, message = BAD[what]
    got, details = refusal(stub, spoil(change))
    assert got.name == code
    assert message in details
    stub.ModelInfer(typed_request(), timeout=20)


def test_raw_bytes_of_another_number_than_the_shape_needs(stub):
    request = typed_request()
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend([b"\0" * 31, b"\0" * 80, b"\0" * 80])
    code, details = refusal(stub, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "input 'dense' has 31 bytes, but FP32 of shape [2, 4] takes 32" in details


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
    options = ("--instances", "1", "--max-queue-delay-microseconds", "20000")
    with ServerProcess(tiny, *options) as server, ThreadPoolExecutor(8) as pool:

        def ask(i: int) -> np.ndarray:
            client, url = [(triton, server.grpc_url), (triton_http, server.url)][i % 2]
            with client.InferenceServerClient(url) as connection:
                return connection.infer("tiny_dlrm", tensors(client, flat)).as_numpy("score")

        for answer in pool.map(ask, range(40)):
            np.testing.assert_allclose(answer, runtime.run(flat)["score"].numpy(), atol=2e-6, rtol=0)
        (stats,) = triton.InferenceServerClient(server.grpc_url).get_inference_statistics("tiny_dlrm").model_stats
    assert stats.inference_stats.success.count == 40
    assert stats.execution_count < 40


def test_a_message_over_the_limit_is_refused(tiny):
    with (
        ServerProcess(tiny, "--http-port", "off", "--max-request-bytes", "2000") as server,
        grpc.insecure_channel(server.grpc_url) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = typed_request()
        request.id = "x" * 3000
        assert refusal(stub, request)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        stub.ModelInfer(typed_request(), timeout=20)


def test_a_full_queue_is_unavailable(tiny):
    options = ("--http-port", "off", "--instances", "1", "--max-queue-size", "1")
    flat = {
        "dense": np.zeros((500, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, 500), np.int64),
    }
    with ServerProcess(tiny, *options) as server:
        client = triton.InferenceServerClient(server.grpc_url)
        outcomes: list[str] = []
        done = threading.Semaphore(0)

        def answered(result, error) -> None:
            outcomes.append("ok" if error is None else error.status())
            done.release()

        for _ in range(300):
            client.async_infer("tiny_dlrm", tensors(triton, flat), answered)
        for _ in range(300):
            done.acquire()
    assert set(outcomes) == {"ok", "StatusCode.UNAVAILABLE"}


def test_a_request_that_cannot_be_answered_in_its_time_is_unavailable(server, stub):
    client = triton.InferenceServerClient(server.grpc_url)
    inputs = tensors(triton, flat_request())
    client.infer("tiny_dlrm", inputs, timeout=20_000_000, priority=1)
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.infer("tiny_dlrm", inputs, timeout=1)
    request = typed_request()
    request.parameters["timeout"].int64_param = -1
    code, details = refusal(stub, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert 'parameter "timeout" must be an integer of at least 0' in details


def test_clients_that_cancel_do_no_harm(server, stub):
    for _ in range(50):
        stub.ModelInfer.future(typed_request()).cancel()
    stub.ModelInfer(typed_request(), timeout=20)


def test_what_is_no_grpc_is_closed_and_does_no_harm(server, stub):
    host, port = server.grpc_url.split(":")
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(nonsense)
            while connection.recv(1000):
                pass
    stub.ModelInfer(typed_request(), timeout=20)


def test_a_client_that_says_nothing_is_cut_off(tiny):
    with ServerProcess(tiny, "--http-port", "off", "--request-timeout-seconds", "1") as server:
        host, port = server.grpc_url.split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            while connection.recv(1000):  # the server's own greeting, and then the end
                pass


def test_sigterm_answers_what_was_accepted_and_exits_0(tiny, runtime):
    flat = random_inputs(runtime.manifest, 200)
    with ServerProcess(tiny, "--http-port", "off", "--instances", "1") as server:
        outcomes: list[str] = []

        def client() -> None:
            connection = triton.InferenceServerClient(server.grpc_url)
            for _ in range(10_000):  # stops at the first refusal, long before
                try:
                    assert len(connection.infer("tiny_dlrm", tensors(triton, flat)).as_numpy("score")) == 200
                    outcomes.append("answered")
                except InferenceServerException as error:
                    outcomes.append(str(error.status()))
                    return

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(outcomes) < 50:
            threads[0].join(0.01)
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
