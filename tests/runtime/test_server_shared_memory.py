"""Tensors in shared memory that clients register, over both protocols."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import shared_memory
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException
from wire import flat_request, tensors

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.server_process import ServerProcess

PROTOCOLS = pytest.mark.parametrize("protocol", [triton_http, triton_grpc], ids=["http", "grpc"])
SIZE = 4096


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny, "--shared-memory") as running:
        yield running


@contextmanager
def memory(size: int = SIZE) -> Iterator[shared_memory.SharedMemory]:
    block = shared_memory.SharedMemory(name=f"recpile-test-{uuid.uuid4().hex}", create=True, size=size)
    try:
        yield block
    finally:
        block.close()
        block.unlink()


def connect(server: ServerProcess, protocol: ModuleType) -> Any:
    return protocol.InferenceServerClient(server.url if protocol is triton_http else server.grpc_url)


def placed(protocol: ModuleType, block: shared_memory.SharedMemory, region: str) -> tuple[list, Any]:
    """flat_request in the block, one tensor behind the other, and room for the answer at its end."""
    inputs, at = [], 0
    for name, array in flat_request().items():
        np.ndarray(array.shape, array.dtype, block.buf, offset=at)[...] = array
        tensor = protocol.InferInput(name, array.shape, {"float32": "FP32", "int64": "INT64"}[str(array.dtype)])
        tensor.set_shared_memory(region, array.nbytes, offset=at)
        inputs.append(tensor)
        at += array.nbytes
    output = protocol.InferRequestedOutput("score")
    output.set_shared_memory(region, 8, offset=SIZE - 8)
    return inputs, output


@PROTOCOLS
def test_inputs_are_read_and_outputs_written_there(server, tiny, protocol):
    client = connect(server, protocol)
    with memory() as block:
        client.register_system_shared_memory("r", "/" + block.name, SIZE)
        inputs, output = placed(protocol, block, "r")
        answer = client.infer("tiny_dlrm", inputs, outputs=[output])
        score = np.ndarray(2, np.float32, block.buf, offset=SIZE - 8).copy()
        client.unregister_system_shared_memory("r")
    np.testing.assert_array_equal(score, DebugRuntime(tiny).run(flat_request())["score"].numpy())
    described = answer.get_output("score")
    if protocol is triton_http:
        assert described == {"name": "score", "datatype": "FP32", "shape": [2]}
    else:
        assert set(described.parameters) == {"shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"}


@PROTOCOLS
def test_it_mixes_with_tensors_that_travel(server, tiny, protocol):
    client = connect(server, protocol)
    with memory() as block:
        client.register_system_shared_memory("mixed", "/" + block.name, SIZE)
        shared, _ = placed(protocol, block, "mixed")
        sent = tensors(protocol, flat_request())
        answer = client.infer("tiny_dlrm", [sent[0], shared[1], sent[2]])
        client.unregister_system_shared_memory("mixed")
    np.testing.assert_array_equal(answer.as_numpy("score"), DebugRuntime(tiny).run(flat_request())["score"].numpy())


@PROTOCOLS
def test_regions_are_listed_and_forgotten(server, protocol):
    client = connect(server, protocol)

    def listed() -> set[str]:
        status = client.get_system_shared_memory_status()
        return {one["name"] for one in status} if protocol is triton_http else set(status.regions)

    with memory() as block:
        client.register_system_shared_memory("a", "/" + block.name, 100, offset=50)
        client.register_system_shared_memory("b", "/" + block.name, SIZE)
        assert listed() == {"a", "b"}
        with pytest.raises(InferenceServerException, match="registered already"):
            client.register_system_shared_memory("a", "/" + block.name, SIZE)
        client.unregister_system_shared_memory("a")
        assert listed() == {"b"}
        client.unregister_system_shared_memory()
        assert listed() == set()
        with pytest.raises(InferenceServerException, match="'a' is not registered"):
            client.get_system_shared_memory_status("a")


@PROTOCOLS
@pytest.mark.parametrize(
    ("key", "size", "offset", "said"),
    [
        ("/recpile-gone", SIZE, 0, "cannot open '/recpile-gone'"),
        ("{}", SIZE + 1, 0, "do not fit"),
        ("{}", 1, SIZE, "do not fit"),
        ("{}", 0, 0, "do not fit"),
        ("{}", 2**63, 2**63, "do not fit"),
        ("/../etc/passwd", 1, 0, "use that of shm_open"),
        ("etc", 1, 0, "use that of shm_open"),
        ("", 1, 0, "use that of shm_open"),
    ],
)
def test_what_is_no_such_memory_cannot_be_registered(server, protocol, key, size, offset, said):
    with memory() as block, pytest.raises(InferenceServerException, match=said):
        connect(server, protocol).register_system_shared_memory("x", key.format("/" + block.name), size, offset=offset)


@PROTOCOLS
def test_a_request_cannot_reach_beyond_its_region(server, protocol):
    client = connect(server, protocol)
    with memory() as block:
        client.register_system_shared_memory("small", "/" + block.name, 100, offset=1000)
        for tensor, said in [
            (("small", 32, 69), "do not fit region 'small', which has 100 bytes"),
            (("small", 31, 0), "shared_memory_byte_size is 31, but FP32 of shape"),
            (("other", 32, 0), "'other' is not registered"),
        ]:
            inputs = tensors(protocol, flat_request())
            inputs[0].set_shared_memory(*tensor)
            with pytest.raises(InferenceServerException, match=said):
                client.infer("tiny_dlrm", inputs)
        output = protocol.InferRequestedOutput("score")
        output.set_shared_memory("small", 4)
        with pytest.raises(InferenceServerException, match="it has 8 bytes, but shared_memory_byte_size is 4"):
            client.infer("tiny_dlrm", tensors(protocol, flat_request()), outputs=[output])
        client.unregister_system_shared_memory("small")


@PROTOCOLS
def test_a_client_that_shrinks_its_memory_gets_an_error_and_the_server_lives(server, protocol):
    client = connect(server, protocol)
    with memory() as block:
        client.register_system_shared_memory("shrunk", "/" + block.name, SIZE)
        inputs, _ = placed(protocol, block, "shrunk")
        os.truncate(f"/dev/shm/{block.name}", 10)
        with pytest.raises(InferenceServerException, match="no longer as large as it was registered"):
            client.infer("tiny_dlrm", inputs)
        client.unregister_system_shared_memory("shrunk")
    client.infer("tiny_dlrm", tensors(protocol, flat_request()))


@PROTOCOLS
def test_it_is_off_unless_asked_for(tiny, protocol):
    with ServerProcess(tiny) as server, memory() as block:
        client = connect(server, protocol)
        for ask in (
            lambda: client.register_system_shared_memory("r", "/" + block.name, SIZE),
            lambda: client.infer("tiny_dlrm", placed(protocol, block, "r")[0]),
            lambda: client.infer(
                "tiny_dlrm", tensors(protocol, flat_request()), outputs=[placed(protocol, block, "r")[1]]
            ),
        ):
            with pytest.raises(InferenceServerException, match="shared memory is off"):
                ask()
