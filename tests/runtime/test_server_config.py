"""The configuration file, and the log."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException
from wire import flat_request, tensors

from recpile.pycompiler.server_process import ServerError, ServerProcess

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def config(folder: Path, text: str) -> str:
    (folder / "server.yaml").write_text(text)
    return str(folder / "server.yaml")


def test_a_yaml_file_says_what_flags_say(tiny, tmp_path):
    file = config(
        tmp_path,
        f"""
        artifact: {tiny}
        model-name: ranker      # either spelling
        max_queue_size: 7
        no-verify-checksums: true
        preferred-batch-size: [8, 64]
        """,
    )
    log = tmp_path / "log"
    with ServerProcess(None, "--config", file, log=log) as server:
        assert server.models == ["ranker:1"]
    assert "max_queue_size=7" in log.read_text()
    assert "verify_checksums=false" in log.read_text()


def test_flags_override_the_file(tiny, tmp_path):
    file = config(tmp_path, f"artifact: {tiny}\nmodel-name: ranker\n")
    with ServerProcess(None, "--config", file, "--model-name", "other") as server:
        assert server.models == ["other:1"]


def test_a_list_gives_a_flag_several_values(tiny, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.pt2").symlink_to(tiny)
    file = config(tmp_path, f"model-repository: {tmp_path}\nmodel-control: explicit\nload-model: [a, c]\n")
    with ServerProcess(None, "--config", file) as server:
        assert server.models == ["a:1", "c:1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max-queue-siez: 7", "max-queue-siez"),
        ("max-queue-size: many", "many"),
        ("max-queue-size: 0", "max-queue-size"),
        ("max-queue-size: {a: 1}", "'max-queue-size' must be a value or a list of values"),
        ("max-queue-size: 7\nmax_queue_size: 8", r"'max-queue-size' is given twice \(line 2\)"),
        ("- a\n- b", "must be a mapping of flags to values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_file_is_exit_code_2_and_named(tiny, tmp_path, text, said):
    with pytest.raises(ServerError, match=f"(?s)exited with 2.*{said}"):
        ServerProcess(tiny, "--config", config(tmp_path, text)).__enter__()


def test_a_file_that_is_not_there(tiny):
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*gone\.yaml"):
        ServerProcess(tiny, "--config", "gone.yaml").__enter__()


def test_json_logs_have_a_line_for_each_request_with_its_id_and_trace(tiny, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tiny, "--log-format", "json", "--log-requests", log=log) as server:
        http = triton_http.InferenceServerClient(server.url)
        http.infer("tiny_dlrm", tensors(triton_http, flat_request()), request_id="a", headers={"traceparent": TRACE})
        grpc = triton_grpc.InferenceServerClient(server.grpc_url)
        grpc.infer("tiny_dlrm", tensors(triton_grpc, flat_request()), request_id="b", headers={"traceparent": TRACE})
        grpc.infer("tiny_dlrm", tensors(triton_grpc, flat_request()), headers={"traceparent": "nonsense"})
        with pytest.raises(InferenceServerException):
            http.infer("tiny_dlrm", tensors(triton_http, flat_request())[:1], request_id='"}\n{')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level"} <= line.keys() for line in lines)
    requests = [line for line in lines if line.get("event") == "request"]
    assert [(one["protocol"], one["status"], one.get("id")) for one in requests] == [
        ("http", "OK", "a"),
        ("grpc", "OK", "b"),
        ("grpc", "OK", None),
        ("http", "INVALID_ARGUMENT", '"}\n{'),
    ]
    assert [one.get("traceparent") for one in requests] == [TRACE, TRACE, None, None]
    assert requests[0]["microseconds"] > 0
    assert requests[3]["error"].startswith("input 'sparse.values' is missing")
    assert (requests[0]["model"], requests[0]["version"]) == ("tiny_dlrm", "1")


def test_text_logs_have_it_on_one_line_and_only_if_asked(tiny, tmp_path):
    for options, wanted in (((), 0), (("--log-requests",), 1)):
        log = tmp_path / "log"
        with ServerProcess(tiny, *options, log=log) as server:
            http = triton_http.InferenceServerClient(server.url)
            http.infer("tiny_dlrm", tensors(triton_http, flat_request()), request_id="a b")
        lines = [line for line in log.read_text().splitlines() if "] request protocol=" in line]
        assert len(lines) == wanted
    assert 'status="OK"' in lines[0]
    assert 'id="a b"' in lines[0]


def test_large_json_is_decoded_while_others_are_served(tiny):
    rows = 40_000
    body = {
        "inputs": [
            {"name": "dense", "shape": [rows, 4], "datatype": "FP32", "data": [0.125] * (4 * rows)},
            {"name": "sparse.values", "shape": [0], "datatype": "INT64", "data": []},
            {"name": "sparse.lengths", "shape": [5, rows], "datatype": "INT64", "data": [0] * (5 * rows)},
        ]
    }
    with ServerProcess(tiny) as server:
        url = f"http://{server.url}/v2/models/tiny_dlrm/infer"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as answer:
            (output,) = json.loads(answer.read())["outputs"]
        assert output["shape"] == [rows]
        assert len(set(output["data"])) == 1
        broken = json.dumps(body).encode()[:-1]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(url, broken, timeout=60)
