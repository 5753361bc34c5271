"""The metrics port, as Prometheus scrapes it."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException
from wire import PATIENCE, flat_request, scrape, tensors, wait_for

from recpile.pycompiler.server_process import ServerError, ServerProcess

LABELS = 'model="tiny_dlrm",version="1"'


def test_requests_of_both_protocols_are_counted(tiny):
    with ServerProcess(tiny, "--max-queue-size", "4096") as server:
        assert scrape(server)[f"recpile_inference_request_success{{{LABELS}}}"] == 0
        for _ in range(3):
            triton_http.InferenceServerClient(server.url).infer("tiny_dlrm", tensors(triton_http, flat_request()))
        client = triton_grpc.InferenceServerClient(server.grpc_url)
        client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()))
        for bad in (tensors(triton_grpc, flat_request())[:1], []):
            with pytest.raises(InferenceServerException):
                client.infer("tiny_dlrm", bad)
        # Cutting is counted when it is over, and its answers may be on their way before.
        cut = f"recpile_inference_compute_output_histogram_us_count{{{LABELS}}}"
        wait_for("last batch to be cut", lambda: scrape(server)[cut] >= 4)
        metrics = scrape(server)
    assert metrics[f"recpile_inference_request_success{{{LABELS}}}"] == 4
    assert metrics[f"recpile_inference_count{{{LABELS}}}"] == 8
    assert metrics[f"recpile_inference_exec_count{{{LABELS}}}"] == 4
    assert metrics[f"recpile_inference_pending_request_count{{{LABELS}}}"] == 0
    assert metrics[f'recpile_inference_request_failure{{{LABELS},reason="OTHER"}}'] == 2
    assert metrics[f'recpile_inference_request_failure{{{LABELS},reason="REJECTED"}}'] == 0
    for part in ("request", "queue", "compute_input", "compute_infer", "compute_output"):
        assert metrics[f"recpile_inference_{part}_duration_us{{{LABELS}}}"] > 0
    # A value a request, or a batch.
    for one in ("request", "queue", "compute_input", "compute_infer", "compute_output"):
        assert metrics[f"recpile_inference_{one}_histogram_us_count{{{LABELS}}}"] == 4
    assert metrics[f"recpile_inference_batch_size_sum{{{LABELS}}}"] == 8
    assert metrics[f'recpile_inference_batch_size_bucket{{{LABELS},le="2"}}'] == 4
    stages = {name for name in metrics if name.startswith("recpile_inference_stage_histogram_us_count")}
    assert len(stages) == 2
    assert all(metrics[name] == 4 for name in stages)
    assert metrics[f'recpile_inference_request_histogram_us_bucket{{{LABELS},le="+Inf"}}'] == 4
    assert metrics[f'recpile_table_bytes{{{LABELS},table="user",dtype="fp32"}}'] == 50 * 16 * 4
    assert metrics[f"recpile_model_loaded_timestamp_seconds{{{LABELS}}}"] > 1_700_000_000


def test_requests_that_found_the_queue_full_are_counted_as_rejected(tiny):
    # The first request waits for company, which it does not get, for as long as some others come.
    options = ("--instances", "1", "--max-queue-size", "1", "--max-queue-delay-microseconds", "20000")
    with ServerProcess(tiny, *options) as server:
        client = triton_grpc.InferenceServerClient(server.grpc_url)
        outcomes: list[bool] = []
        for burst in range(1, 21):  # until one finds the queue full
            for _ in range(200):
                answered = lambda result, error: outcomes.append(error is None)  # noqa: E731
                client.async_infer("tiny_dlrm", tensors(triton_grpc, flat_request()), answered)
            wait_for("answer to every request", lambda sent=200 * burst: len(outcomes) == sent)
            if not all(outcomes):
                break
        metrics = scrape(server)
    assert 0 < outcomes.count(True) < len(outcomes)
    assert metrics[f"recpile_inference_request_success{{{LABELS}}}"] == outcomes.count(True)
    assert metrics[f'recpile_inference_request_failure{{{LABELS},reason="REJECTED"}}'] == outcomes.count(False)


def test_requests_that_ran_out_of_time_are_unavailable_and_rejected(tiny):
    with ServerProcess(tiny, "--default-timeout-microseconds", "1") as server:
        for protocol, url in ((triton_http, server.url), (triton_grpc, server.grpc_url)):
            client = protocol.InferenceServerClient(url)
            with pytest.raises(InferenceServerException, match=r"503|UNAVAILABLE"):
                client.infer("tiny_dlrm", tensors(protocol, flat_request()))
            # What a request says of itself goes before the default.
            client.infer("tiny_dlrm", tensors(protocol, flat_request()), timeout=60_000_000)
        metrics = scrape(server)
    assert metrics[f'recpile_inference_request_failure{{{LABELS},reason="REJECTED"}}'] == 2
    assert metrics[f"recpile_inference_request_success{{{LABELS}}}"] == 2
    assert f"recpile_inference_expired_count{{{LABELS}}}" in metrics


def test_every_metric_says_what_it_is(tiny):
    with ServerProcess(tiny) as server, urllib.request.urlopen(f"http://{server.metrics_url}/metrics") as answer:
        text = answer.read().decode()
    families = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert families == set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    own = {name for name in families if name.startswith("recpile_")}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in own} >= {"recpile_inference_request_histogram_us"}


def test_the_metrics_port_may_be_off(tiny):
    with ServerProcess(tiny, "--metrics-port", "off") as server:
        assert server.metrics_url == ""


def test_a_metrics_port_in_use_is_exit_code_3(tiny):
    with ServerProcess(tiny) as server:
        port = server.metrics_url.split(":")[1]
        with pytest.raises(ServerError, match=f"(?s)exited with 3.*127.0.0.1:{port}.*choose another --metrics-port"):
            ServerProcess(tiny, "--metrics-port", port).__enter__()


def test_what_is_elsewhere_on_the_port_is_a_404(tiny):
    with ServerProcess(tiny) as server, pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{server.metrics_url}/v2", timeout=PATIENCE)
