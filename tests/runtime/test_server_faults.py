"""What a server lives through: logs that nobody takes, its own sudden end, memory that runs out."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, flat_request, json_request, post, tensors

from recpile.pycompiler.server_process import ServerError, ServerProcess, server_binary

MIB = 1 << 20


def test_a_full_disk_under_the_log_stops_no_request(tiny):
    with ServerProcess(tiny, "--log-requests", "--log-level", "debug", log=Path("/dev/full")) as server:
        for _ in range(100):
            assert post(server, json_request())[0] == 200
        assert server.stop() == 0


def test_a_log_whose_reader_has_gone_stops_no_request(tiny):
    command = [str(server_binary()), str(tiny), "--exit-with-parent", "--log-requests"]
    ports = ["--http-port", "0", "--grpc-port", "off", "--metrics-port", "off"]
    with subprocess.Popen(command + ports, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split("http=http://")[1].split()[0]
        process.stderr.close()
        for _ in range(3):
            assert post(url, json_request())[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_after_sigkill_the_next_one_takes_the_same_ports(tiny):
    # The kernel may give one of them to somebody else in between; hardly three times.
    for _ in range(3):
        with contextlib.suppress(ServerError):
            kill_and_start_again(tiny)
            return
    kill_and_start_again(tiny)


def kill_and_start_again(tiny: Path) -> None:
    with ServerProcess(tiny) as server:
        # A connection that is open when the server ends keeps its port busy for a minute, unless told otherwise.
        host, port = server.url.split(":")
        with socket.create_connection((host, int(port)), timeout=20):
            assert post(server, json_request())[0] == 200
            server.process.send_signal(signal.SIGKILL)
            assert server.process.wait(PATIENCE) == -signal.SIGKILL
        urls = server.url, server.grpc_url, server.metrics_url
    flags = ("--http-port", "--grpc-port", "--metrics-port")
    same = [word for flag, url in zip(flags, urls, strict=True) for word in (flag, url.split(":")[1])]
    with ServerProcess(tiny, *same) as server:
        assert (server.url, server.grpc_url, server.metrics_url) == urls
        assert post(server, json_request())[0] == 200
        client = triton_grpc.InferenceServerClient(server.grpc_url)
        client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()))


def empty_bags(candidates: int) -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((candidates, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, candidates), np.int64),
    }


def binary_request(candidates: int) -> tuple[bytes, dict[str, str]]:
    """As long as a request of so many candidates is."""
    flat = empty_bags(candidates)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": array.shape,
                    "datatype": "FP32" if array.dtype == np.float32 else "INT64",
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, array in flat.items()
            ]
        }
    ).encode()
    body = head + b"".join(array.tobytes() for array in flat.values())
    return body, {"Inference-Header-Content-Length": str(len(head))}


def leave_memory(server: ServerProcess, mebibytes: int) -> None:
    """Lets the server take so much more address space and none beyond."""
    held = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (held + mebibytes * MIB, resource.RLIM_INFINITY))


def test_a_request_that_finds_no_memory_is_an_error_and_the_next_is_answered(tiny):
    small, large = json_request(), binary_request(3_000_000)
    options = ("--grpc-port", "off", "--instances", "1", "--max-request-bytes", str(256 * MIB))
    with ServerProcess(tiny, *options, "--max-batch-size", "4000000") as server:
        assert post(server, small)[0] == 200
        # Room for requests of an ordinary size, and not for the large one's body of 160 MiB ...
        leave_memory(server, 16)
        status, answer = post(server, large[0], **large[1])
        assert (status, answer) == (503, {"error": "out of memory while reading the request; retry later"})
        assert post(server, small)[0] == 200
        # ... or for its body, and not for the gigabyte that its lookups give.
        leave_memory(server, 256)
        status, answer = post(server, large[0], **large[1])
        assert status == 500, answer
        assert re.search("stage .* failed: .*memory", answer["error"]), answer
        assert post(server, small)[0] == 200
        assert server.stop() == 0


def test_a_grpc_message_that_finds_no_memory_is_an_error_and_the_next_is_answered(tiny):
    options = ("--http-port", "off", "--instances", "1", "--max-request-bytes", str(256 * MIB))
    with ServerProcess(tiny, *options) as server:
        client = triton_grpc.InferenceServerClient(server.grpc_url)
        client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()))
        # Room for the message's 160 MiB as they come in, and not for the tensors that are read from them as well.
        leave_memory(server, 240)
        with pytest.raises(InferenceServerException, match="out of memory while reading the request; retry later"):
            client.infer("tiny_dlrm", tensors(triton_grpc, empty_bags(3_000_000)))
        client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()))
        assert server.stop() == 0
