"""recpile-server as people use it: a real process, real sockets, the public client and curl."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, answers_together, json_request, post, tensors, wait_for

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.server_process import ServerError, ServerProcess, server_binary


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    # One instance: a request shared out over two may be rounded otherwise than the debug runtime does.
    with ServerProcess(tiny, "--instances", "1") as running:
        yield running


@pytest.fixture(scope="module")
def runtime(tiny) -> DebugRuntime:
    return DebugRuntime(tiny)


def inputs(flat: dict, binary: bool = True) -> list[triton.InferInput]:
    return tensors(triton, flat, binary_data=binary)


def test_health_and_metadata_as_the_public_client_asks_for_them(server):
    client = triton.InferenceServerClient(server.url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny_dlrm")
    assert client.is_model_ready("tiny_dlrm", "1")
    assert client.get_server_metadata()["name"] == "recpile"
    assert client.get_model_metadata("tiny_dlrm")["inputs"] == [
        {"name": "dense", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "sparse.values", "datatype": "INT64", "shape": [-1]},
        {"name": "sparse.lengths", "datatype": "INT64", "shape": [5, -1]},
    ]
    assert client.get_model_config("tiny_dlrm")["name"] == "tiny_dlrm"


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("batch", [1, 2, 3, 500])
def test_answers_are_the_debug_runtimes(server, runtime, binary, batch):
    flat = random_inputs(runtime.manifest, batch, seed=batch)
    client = triton.InferenceServerClient(server.url)
    wanted = [triton.InferRequestedOutput("score", binary_data=binary)]
    answer = client.infer("tiny_dlrm", inputs(flat, binary), outputs=wanted, request_id="42")
    assert answer.get_response()["id"] == "42"
    np.testing.assert_array_equal(answer.as_numpy("score"), runtime.run(flat)["score"].numpy())


def test_the_asyncio_client(server, runtime):
    flat = random_inputs(runtime.manifest, 3)
    answers = answers_together(triton_aio, server, server.url, flat, 20)
    assert len(answers) == 20
    for answer in answers:
        np.testing.assert_allclose(answer, runtime.run(flat)["score"].numpy(), atol=2e-6, rtol=0)


def test_a_json_body_written_by_hand(server, runtime):
    status, answer = post(server, json_request())
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("first", "tiny_dlrm", "1")
    (output,) = answer["outputs"]
    arrays = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in json_request()["inputs"]}
    arrays["dense"] = arrays["dense"].astype(np.float32)
    assert output["datatype"] == "FP32"
    np.testing.assert_allclose(output["data"], runtime.run(arrays)["score"].numpy(), rtol=1e-6)


def test_curl(server):
    body = json.dumps(json_request())
    command = [
        "curl",
        "-sS",
        "--fail-with-body",
        "-d",
        body,
        f"http://{server.url}/v2/models/tiny_dlrm/versions/1/infer",
    ]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert answer["outputs"][0]["shape"] == [2]


def test_concurrent_requests_are_coalesced_and_each_gets_its_own_answer(tiny, runtime):
    # Eight clients, each of which sends the next when it has its answer: a batch goes when all of them wait.
    sizes = (1, 2, 3, 4, 5, 1, 2, 3)
    requests = [random_inputs(runtime.manifest, sizes[seed % 8], seed) for seed in range(240)]
    answers = [np.empty(0)] * len(requests)
    options = ("--preferred-batch-size", str(sum(sizes)), "--max-queue-delay-microseconds", "60000000")
    with ServerProcess(tiny, "--instances", "1", *options) as server:

        def client(first: int) -> None:
            connection = triton.InferenceServerClient(server.url, network_timeout=PATIENCE)
            for i in range(first, len(requests), 8):
                answers[i] = connection.infer("tiny_dlrm", inputs(requests[i])).as_numpy("score")
            connection.close()

        threads = [threading.Thread(target=client, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (stats,) = triton.InferenceServerClient(server.url).get_inference_statistics("tiny_dlrm")["model_stats"]
    for flat, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer, runtime.run(flat)["score"].numpy(), atol=2e-6, rtol=0)
    assert stats["inference_stats"]["success"]["count"] == 240
    assert stats["execution_count"] == 240 // 8


def test_a_client_that_vanishes_does_no_harm(server):
    host, port = server.url.split(":")
    body = json.dumps(json_request()).encode()
    head = f"POST /v2/models/tiny_dlrm/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sent in (head[:20], head, head + body[:50], head + body):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    assert post(server, json_request())[0] == 200


def test_sigterm_answers_what_was_accepted_and_exits_0(tiny, runtime):
    flat = random_inputs(runtime.manifest, 200)
    with ServerProcess(tiny, "--instances", "1") as server:
        outcomes: list[str] = []

        def client() -> None:
            connection = triton.InferenceServerClient(server.url, network_timeout=PATIENCE)
            while True:  # until the first refusal: the server ends
                try:
                    assert len(connection.infer("tiny_dlrm", inputs(flat)).as_numpy("score")) == 200
                    outcomes.append("answered")
                except InferenceServerException:
                    outcomes.append("refused")
                    return
                except (ConnectionError, OSError, EOFError) as error:
                    # Closed between two requests, or refused: nothing was accepted. Cut off in an answer is not.
                    outcomes.append("cut off" if "bytes read" in str(error) else "closed")
                    return

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for("50 answers", lambda: len(outcomes) >= 50)
        assert server.stop() == 0
        for thread in threads:
            thread.join()
    assert outcomes.count("answered") >= 50
    assert "cut off" not in outcomes


def test_it_listens_on_loopback_only(server):
    port = int(server.url.split(":")[1])
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [fields[1] for fields in sockets if fields[3] == "0A"]
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening


def test_an_artifacts_code_does_not_make_stacks_executable(server):
    maps = Path(f"/proc/{server.process.pid}/maps").read_text().splitlines()
    assert any(".wrapper.so" in line and "r-xp" in line for line in maps)  # it is loaded
    (stack,) = (line for line in maps if line.endswith("[stack]"))
    assert stack.split()[1] == "rw-p"


def test_a_bad_artifact_is_exit_code_2_and_the_reason(tmp_path):
    (tmp_path / "bad.pt2").write_bytes(b"nothing of the kind" * 10)
    with (
        pytest.raises(ServerError, match=r"(?s)exited with 2.*truncated or not a zip archive") as error,
        ServerProcess(tmp_path / "bad.pt2"),
    ):
        pass
    assert "bad.pt2" in str(error.value)


def test_a_port_in_use_is_exit_code_3(server, tiny):
    port = server.url.split(":")[1]
    ran = subprocess.run(
        [str(server_binary()), str(tiny), "--http-port", port, "--grpc-port", "0", "--metrics-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 3
    assert port in ran.stderr


def test_a_wrong_option_is_exit_code_2_and_help_reads_well(tiny):
    ran = subprocess.run(
        [str(server_binary()), str(tiny), "--max-batch-size", "0"], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2
    shown = subprocess.run([str(server_binary()), "--help"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert "--max-queue-delay-microseconds" in shown.stdout


def test_ctrl_c_stops_it_too(tiny):
    with ServerProcess(tiny) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
