"""recpile-server as people use it: a real process, real sockets, the public client and curl."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException
from wire import json_request, tensors

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.server_process import ServerError, ServerProcess, server_binary


@pytest.fixture(scope="module")
def server(tiny) -> Iterator[ServerProcess]:
    with ServerProcess(tiny) as running:
        yield running


@pytest.fixture(scope="module")
def runtime(tiny) -> DebugRuntime:
    return DebugRuntime(tiny)


def inputs(flat: dict, binary: bool = True) -> list[triton.InferInput]:
    return tensors(triton, flat, binary_data=binary)


def post(
    server: ServerProcess, body: bytes, path: str = "/v2/models/tiny_dlrm/infer", **headers: str
) -> tuple[int, dict]:
    request = urllib.request.Request(f"http://{server.url}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


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


def test_a_json_body_written_by_hand(server, runtime):
    status, answer = post(server, json.dumps(json_request()).encode())
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
    requests = [random_inputs(runtime.manifest, 1 + seed % 5, seed) for seed in range(240)]
    answers = [np.empty(0)] * len(requests)
    # One instance and a delay: company is certain, whatever else this machine does.
    with ServerProcess(tiny, "--instances", "1", "--max-queue-delay-microseconds", "20000") as server:

        def client(first: int) -> None:
            connection = triton.InferenceServerClient(server.url)
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
    assert stats["execution_count"] < 240


def spoil(index: int, **changes) -> dict:
    request = json_request()
    request["inputs"][index].update(changes)
    return request


BAD = {
    "an unknown input": (spoil(0, name="dens"), "unknown input 'dens'; the model's inputs are dense, sparse.values"),
    "a missing input": ({"inputs": json_request()["inputs"][:2]}, "input 'sparse.lengths' is missing"),
    "a wrong dtype": (spoil(0, datatype="FP64"), "input 'dense' is fp64; expected fp32"),
    "a wrong shape": (spoil(0, shape=[4, 2], data=[0] * 8), r"input 'dense' has shape [4, 2]; expected [-1, 4]"),
    "lengths that do not sum to the values": (
        spoil(2, data=[1] * 9 + [0]),
        "sums to 9, but 'sparse.values' has 10 ids",
    ),
    "negative lengths": (spoil(2, data=[-1] + [1] * 9), "'sparse.lengths' has -1 at index 0; lengths are 0 or more"),
    "an id out of range": (
        spoil(1, data=[50] + [1] * 9),
        "has id 50 at index 0 (key 'user'); table 'user' has ids 0 to 49",
    ),
    "an empty request": (
        {
            "inputs": [
                {"name": "dense", "shape": [0, 4], "datatype": "FP32", "data": []},
                {"name": "sparse.values", "shape": [0], "datatype": "INT64", "data": []},
                {"name": "sparse.lengths", "shape": [5, 0], "datatype": "INT64", "data": []},
            ]
        },
        "the request is empty",
    ),
    "no inputs at all": ({"inputs": []}, 'the request needs "inputs" (a non-empty array)'),
    "an unknown output": ({**json_request(), "outputs": [{"name": "scores"}]}, "score"),
    "a fraction for an integer": (spoil(1, data=[1.5] + [1] * 9), "sparse.values"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_a_400_that_names_it_and_the_server_serves_on(server, what):
    body, message = BAD[what]
    status, answer = post(server, json.dumps(body).encode())
    assert status == 400
    assert message in answer["error"]
    assert post(server, json.dumps(json_request()).encode())[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"inputs": 3}', b"[" * 100_000])
def test_a_body_that_is_no_request_is_a_400(server, body):
    status, answer = post(server, body)
    assert status == 400
    assert answer["error"]


def test_the_public_client_sees_the_message(server, runtime):
    flat = random_inputs(runtime.manifest, 2)
    flat["sparse.values"] = flat["sparse.values"] + 1000
    with pytest.raises(InferenceServerException, match="table 'user' has ids 0 to 49"):
        triton.InferenceServerClient(server.url).infer("tiny_dlrm", inputs(flat))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/other/infer", 404),
        ("/v2/models/tiny_dlrm/versions/7/infer", 404),
        ("/v3", 404),
        ("/v2/health/live", 405),
    ],
)
def test_what_is_not_there_says_so(server, path, status):
    got, answer = post(server, b"{}", path)
    assert got == status
    assert answer["error"]


def test_a_body_over_the_limit_is_a_413(tiny):
    with ServerProcess(tiny, "--max-request-bytes", "2000") as server:
        assert post(server, b"x" * 5000)[0] == 413
        assert post(server, json.dumps(json_request()).encode())[0] == 200


def test_a_client_that_vanishes_does_no_harm(server):
    host, port = server.url.split(":")
    body = json.dumps(json_request()).encode()
    head = f"POST /v2/models/tiny_dlrm/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sent in (head[:20], head, head + body[:50], head + body):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    assert post(server, body)[0] == 200


def test_sigterm_answers_what_was_accepted_and_exits_0(tiny, runtime):
    flat = random_inputs(runtime.manifest, 200)
    with ServerProcess(tiny, "--instances", "1") as server:
        outcomes: list[str] = []

        def client() -> None:
            connection = triton.InferenceServerClient(server.url, network_timeout=30)
            for _ in range(10_000):  # stops at the first refusal, long before
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
        while len(outcomes) < 50:
            threads[0].join(0.01)
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
        assert server.process.wait(30) == 0
