"""The configuration file, and the log."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from pki import Pki
from tritonclient.utils import InferenceServerException
from wire import flat_request, tensors

from recpile.pycompiler.server_process import ServerError, ServerProcess, server_binary

DOCS = Path(__file__).parents[2] / "docs"
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


# Of every flag a value that is not its default.
EVERY_FLAG = """
model-repository: {folder}
model-versions: all
model-control: explicit
load-model: [a, b]
fbgemm-dir: {fbgemm}
load-nice: 5
out-of-range: zero
table-memory: mmap
no-verify-checksums: true
instances: 1
pin: true
max-batch-size: 99
max-queue-delay-microseconds: 3
preferred-batch-size: [8, 64]
pad-batches: never
priority-levels: 3
default-priority-level: 1
default-timeout-microseconds: 60000000
timeout-action: delay
max-queue-size: 7
host: localhost
http-port: 0
grpc-port: 0
metrics-port: 0
io-threads: 2
grpc-threads: 2
max-request-bytes: 100000
max-pending-bytes: 200000
request-timeout-seconds: 9
shared-memory: true
tls-certificate: {pki.server[0]}
tls-key: {pki.server[1]}
tls-client-ca: {pki.ca}
record: {folder}.rec
record-share: 0.5
record-max-bytes: 4096
grace-seconds: 9
log-level: debug
log-format: json
log-requests: true
trace-out: {folder}.trace
trace-out-megabytes: 1
otlp-endpoint: http://127.0.0.1:9
otlp-sample-ratio: 0.5
exit-with-parent: true
"""


def test_every_flag_may_be_in_the_file(tiny, tmp_path):
    folder = tmp_path / "models"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.pt2").symlink_to(tiny)
    shown = subprocess.run([str(server_binary()), "--help"], capture_output=True, text=True, check=True, timeout=60)
    # The name of a model is for an artifact: the tests above and below.
    flags = set(re.findall(r"^ +--([a-z-]+)", shown.stdout, re.M)) - {"version", "config", "model-name"}
    fbgemm = importlib.metadata.distribution("fbgemm-gpu-cpu").locate_file("fbgemm_gpu")
    text = EVERY_FLAG.format(folder=folder, fbgemm=fbgemm, pki=Pki(tmp_path))
    assert {line.split(":")[0] for line in text.splitlines() if line} == flags
    log = tmp_path / "log"
    command = [str(server_binary()), "--config", config(tmp_path, text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log.open("w"), text=True) as server:
        assert server.stdout is not None
        ready = server.stdout.readline()
        server.terminate()
        assert server.wait(30) == 0
    assert "http=https://127.0.0.1:" in ready
    assert "grpc=localhost:" in ready
    assert "models=a:1,b:1\n" in ready
    for said in ("max_batch_size=99", "max_queue_size=7", "priority_levels=3", "pin=true", f"fbgemm_dir={fbgemm}"):
        assert said in log.read_text()
    assert (tmp_path / "models.trace").is_file()
    assert (tmp_path / "models.rec").is_file()


def test_every_flag_is_in_the_documents():
    shown = subprocess.run([str(server_binary()), "--help"], capture_output=True, text=True, check=True, timeout=60)
    pages = "".join((DOCS / name).read_text() for name in ("serving.md", "recording.md"))
    flags = set(re.findall(r"^ +(--[a-z-]+)", shown.stdout, re.M)) - {"--version"}
    assert len(flags) > 40
    assert {flag for flag in flags if not re.search(flag + r"(?![a-z-])", pages)} == set()


def test_several_values_of_a_flag_do_not_take_the_artifact_for_one(tiny):
    options = ("--preferred-batch-size", "8,64", "--preferred-batch-size", "16")
    with ServerProcess(None, *options, str(tiny)) as server:
        assert server.models == ["tiny_dlrm:1"]


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
