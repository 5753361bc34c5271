"""perf_analyzer, NVIDIA's load generator for KServe v2 servers, against recpile-server, over both protocols."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from wire import json_request

from recpile.pycompiler.server_process import ServerProcess

PERF_ANALYZER = Path(sys.executable).parent / "perf_analyzer"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PERF_ANALYZER.exists(), reason="get it with scripts/setup_perf_analyzer.sh .venv"),
]


@pytest.fixture(scope="module")
def server(tiny):
    with ServerProcess(tiny, "--instances", "1", "--shared-memory") as running:
        yield running


@pytest.fixture(scope="module")
def input_data(tmp_path_factory) -> Path:
    """Two candidates, in perf_analyzer's form."""
    tensors = {}
    for one in json_request()["inputs"]:
        values = one["data"]
        # It takes 1 for no number of FP32, which is 1.0.
        flat = [float(value) for row in values for value in row] if one["datatype"] == "FP32" else values
        tensors[one["name"]] = {"content": flat, "shape": one["shape"]}
    path = tmp_path_factory.mktemp("perf") / "input.json"
    path.write_text(json.dumps({"data": [tensors]}))
    return path


def statistics(server: ServerProcess) -> dict:
    with urllib.request.urlopen(f"http://{server.url}/v2/models/tiny_dlrm/stats", timeout=20) as answer:
        return json.load(answer)["model_stats"][0]["inference_stats"]


def measure(server: ServerProcess, report: Path, *flags: str) -> dict[str, str]:
    """The one row of perf_analyzer's report."""
    # Any spread of its windows will do: the machine may be busy.
    command = [str(PERF_ANALYZER), "-m", "tiny_dlrm", "-p", "400", "-s", "100000", "-f", str(report), *flags]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with report.open() as file:
        (row,) = csv.DictReader(file)
    return row


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    "how",
    [
        ["--concurrency-range", "3"],
        ["--async", "--request-rate-range", "200"],
        ["--shared-memory", "system", "--output-shared-memory-size", "8"],
    ],
    ids=["concurrency", "async-rate", "shared-memory"],
)
def test_perf_analyzer_measures_the_server(server, input_data, tmp_path, protocol, how):
    before = statistics(server)
    address = server.grpc_url if protocol == "grpc" else server.url
    row = measure(server, tmp_path / "report.csv", "-i", protocol, "-u", address, "--input-data", str(input_data), *how)
    after = statistics(server)
    assert float(row["Inferences/Second"]) > 0
    # What it asks the server for: the parts of a request's time.
    assert float(row["Server Compute Infer"]) > 0
    assert after["success"]["count"] > before["success"]["count"]
    assert after["fail"]["count"] == before["fail"]["count"]


def test_perf_analyzer_shows_the_servers_refusal(server, tmp_path):
    refused = subprocess.run(
        [str(PERF_ANALYZER), "-m", "no_such_model", "-i", "grpc", "-u", server.grpc_url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode != 0
    assert "this server has 'tiny_dlrm'" in refused.stdout + refused.stderr
