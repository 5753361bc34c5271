"""What is no good request over gRPC, or finds no room, is refused, with what is wrong named, and harms nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, flat_request, tensors, typed_request

from recpile.pycompiler.server_process import ServerProcess

messages: Any = service_pb2  # generated: a type checker sees none of its classes


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny, "--http-port", "off") as running:
        yield running


@pytest.fixture(scope="module")
def stub(server) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def refusal(stub, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        stub.ModelInfer(request, timeout=PATIENCE)
    return error.value.code(), error.value.details() or ""


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
    stub.ModelInfer(typed_request(), timeout=PATIENCE)


def test_raw_bytes_of_another_number_than_the_shape_needs(stub):
    request = typed_request()
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend([b"\0" * 31, b"\0" * 80, b"\0" * 80])
    code, details = refusal(stub, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "input 'dense' has 31 bytes, but FP32 of shape [2, 4] takes 32" in details


def test_a_message_over_the_limit_is_refused(tiny):
    with (
        ServerProcess(tiny, "--http-port", "off", "--max-request-bytes", "2000") as server,
        grpc.insecure_channel(server.grpc_url) as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = typed_request()
        request.id = "x" * 3000
        assert refusal(stub, request)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        stub.ModelInfer(typed_request(), timeout=PATIENCE)


def test_a_full_queue_is_unavailable(tiny):
    # Each burst's first request waits for company, which it does not get, for as long as some others come.
    options = ("--http-port", "off", "--instances", "1", "--max-queue-size", "1", "--max-queue-delay-microseconds")
    flat = {
        "dense": np.zeros((500, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, 500), np.int64),
    }
    with ServerProcess(tiny, *options, "20000") as server:
        client = triton.InferenceServerClient(server.grpc_url)
        outcomes: list[str] = []
        done = threading.Semaphore(0)

        def answered(result, error) -> None:
            outcomes.append("ok" if error is None else error.status())
            done.release()

        for _ in range(20):  # bursts, until one finds the queue full
            for _ in range(300):
                client.async_infer("tiny_dlrm", tensors(triton, flat), answered)
            for _ in range(300):
                assert done.acquire(timeout=PATIENCE)
            if len(set(outcomes)) > 1:
                break
    assert set(outcomes) == {"ok", "StatusCode.UNAVAILABLE"}


def test_a_request_that_cannot_be_answered_in_its_time_is_unavailable(server, stub):
    client = triton.InferenceServerClient(server.grpc_url)
    inputs = tensors(triton, flat_request())
    client.infer("tiny_dlrm", inputs, timeout=60_000_000, priority=1)
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.infer("tiny_dlrm", inputs, timeout=1)
    request = typed_request()
    request.parameters["timeout"].int64_param = -1
    code, details = refusal(stub, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert 'parameter "timeout" must be an integer of at least 0' in details
