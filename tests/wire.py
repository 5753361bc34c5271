"""What the tests of the server share: requests for zoo.tiny_dlrm, as each public client takes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from recpile.pycompiler.server_process import ServerProcess

messages: Any = service_pb2  # generated: a type checker sees none of its classes

# Seconds in which what is to happen has happened on any machine: only a test that fails waits so long.
PATIENCE = 120


def tensors(client: ModuleType, flat: dict, **how) -> list:
    """The inputs of a request for `client`, which is tritonclient.http or tritonclient.grpc."""
    made = []
    for name, value in flat.items():
        array = np.asarray(value)
        one = client.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array, **how)
        made.append(one)
    return made


def scrape(server: ServerProcess) -> dict[str, float]:
    """What Prometheus reads: values by name and labels."""
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        lines = answer.read().decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def metric(server: ServerProcess, name: str) -> float:
    """A counter or gauge of the one model that is served: "count" is recpile_inference_count."""
    return scrape(server)[f'recpile_inference_{name}{{model="{server.model}",version="1"}}']


def of_threads(server: ServerProcess, what: str) -> list[str]:
    """/proc/PID/task/TID/`what` of every thread of the server that is there to be read."""
    found = []
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            found.append((task / what).read_text())
    return found


def wait_for(what: str, happened: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Until `happened`; a test that waits in vain fails, it does not hang."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.01)


def wait_until(server: ServerProcess, name: str, least: float) -> None:
    """Until the metric is at least so large."""
    wait_for(f"{name} of {least}", lambda: metric(server, name) >= least)


def answers_together(aio: ModuleType, server: ServerProcess, url: str, flat: dict, count: int) -> list[np.ndarray]:
    """The scores of `count` requests at once through an asyncio client: tritonclient.http.aio or .grpc.aio."""

    async def ask_all() -> list[np.ndarray]:
        async with aio.InferenceServerClient(url) as client:
            assert await client.is_server_ready()
            calls = [client.infer(server.model, tensors(aio, flat)) for _ in range(count)]
            return [answer.as_numpy("score") for answer in await asyncio.gather(*calls)]

    return asyncio.run(ask_all())


def ask(server: ServerProcess, protocol: ModuleType, flat: dict, **how: Any) -> np.ndarray:
    """The scores, over a connection of its own. `protocol` is tritonclient.http or tritonclient.grpc."""
    http = protocol is triton_http
    url = server.url if http else server.grpc_url
    with protocol.InferenceServerClient(url, **({"network_timeout": 120} if http else {})) as client:
        return client.infer(server.model, tensors(protocol, flat), **how).as_numpy("score")


def what_fits(server: ServerProcess, protocol: ModuleType, flat: dict) -> Any:
    """The answer to a request that allows to be answered in part. Of several timeouts, half a second and more, the
    first in which any of its candidates have their turn: how many those are is the machine's affair."""
    http = protocol is triton_http
    url = server.url if http else server.grpc_url
    refused: InferenceServerException | None = None
    with protocol.InferenceServerClient(url, **({"network_timeout": PATIENCE} if http else {})) as client:
        for seconds in (0.5, 1, 2, 4, 8):
            how = {"timeout": int(seconds * 1e6), "parameters": {"partial_ok": True}}
            try:
                return client.infer(server.model, tensors(protocol, flat), **how)
            except InferenceServerException as error:
                refused = error
    raise AssertionError(f"none of its candidates was answered: {refused}")


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes, or resets, the connection."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def json_request() -> dict:
    """Two candidates, as JSON."""
    return {
        "id": "first",
        "inputs": [
            {"name": "dense", "shape": [2, 4], "datatype": "FP32", "data": [[0, 0.5, 1, 0], [1, 2, 3, 4]]},
            {"name": "sparse.values", "shape": [10], "datatype": "INT64", "data": [1, 2, 3, 4, 5, 6, 0, 1, 2, 3]},
            {"name": "sparse.lengths", "shape": [5, 2], "datatype": "INT64", "data": [1] * 10},
        ],
    }


def flat_request() -> dict[str, np.ndarray]:
    """The same as arrays."""
    dtypes = {"FP32": np.float32, "INT64": np.int64}
    return {
        one["name"]: np.array(one["data"], dtypes[one["datatype"]]).reshape(one["shape"])
        for one in json_request()["inputs"]
    }


def post(
    server: ServerProcess | str, body: dict | bytes, path: str = "/v2/models/tiny_dlrm/infer", **headers: str
) -> tuple[int, dict]:
    """Status and answer over HTTP, of a server or at an address."""
    url = server if isinstance(server, str) else server.url
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{url}{path}", data, headers), timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def many(server: ServerProcess, requests: int) -> None:
    """flat_request over gRPC, so many times at once, so that they are coalesced."""
    client, left = triton_grpc.InferenceServerClient(server.grpc_url), threading.Semaphore(0)
    for _ in range(requests):
        client.async_infer("tiny_dlrm", tensors(triton_grpc, flat_request()), lambda result, error: left.release())
    for _ in range(requests):
        assert left.acquire(timeout=PATIENCE)


def typed_request() -> Any:
    """flat_request with typed contents, as gRPC's message."""
    request = messages.ModelInferRequest(model_name="tiny_dlrm", id="typed")
    fields = {"float32": ("FP32", "fp32_contents"), "int64": ("INT64", "int64_contents")}
    for name, array in flat_request().items():
        datatype, field = fields[str(array.dtype)]
        tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        getattr(tensor.contents, field).extend(array.ravel().tolist())
    return request
