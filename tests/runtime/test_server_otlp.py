"""--otlp-endpoint: what a collector is told of requests, and what happens when it does not take it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tritonclient.grpc as triton_grpc
from wire import PATIENCE, flat_request, json_request, many, post, scrape, tensors, wait_for

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.server_process import ServerError, ServerProcess

# Of a request for tiny_dlrm: itself, queue, run, and in that coalesce, two stages and split.
SPANS = 7
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector:
    """An OpenTelemetry collector, as far as it takes spans."""

    def __init__(self) -> None:
        self.spans: list[dict] = []
        self.came = threading.Condition()
        self.status = 200

    def wait(self, spans: int) -> list[dict]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.spans) >= spans, timeout=PATIENCE), self.spans
            return list(self.spans)


@contextmanager
def collecting(status: int = 200) -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    collector.status = status

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/json")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(collector.status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            with collector.came:
                for scope in body["resourceSpans"][0]["scopeSpans"]:
                    collector.spans += scope["spans"]
                collector.came.notify_all()

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def attributes(span: dict) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def children(parent: dict, spans: list[dict]) -> list[dict]:
    """In order; they lie within their parent, one behind the other."""
    inside = [span for span in spans if span.get("parentSpanId") == parent["spanId"]]
    inside.sort(key=lambda span: int(span["startTimeUnixNano"]))
    times = [int(span[end]) for span in inside for end in ("startTimeUnixNano", "endTimeUnixNano")]
    times = [int(parent["startTimeUnixNano"]), *times, int(parent["endTimeUnixNano"])]
    assert times == sorted(times), inside
    return inside


def test_spans_of_both_protocols_reach_a_collector_in_the_clients_trace(tiny, tmp_path):
    log = tmp_path / "log"
    parent = f"00-{TRACE}-{PARENT}-01"
    options = ("--log-requests", "--log-format", "json", "--otlp-sample-ratio", "0", "--instances", "2")
    stages = [stage["name"] for stage in DebugRuntime(tiny).manifest["stages"]]
    with collecting() as (collector, url):
        with ServerProcess(tiny, "--otlp-endpoint", url, *options, log=log) as server:
            assert post(server, json_request(), traceparent=parent)[0] == 200
            client = triton_grpc.InferenceServerClient(server.grpc_url)
            client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()), headers={"traceparent": parent})
            # Neither is one that anybody asked to see.
            assert post(server, json_request(), traceparent=f"00-{TRACE}-{PARENT}-00")[0] == 200
            assert post(server, json_request())[0] == 200
            collector.wait(2 * SPANS)
        spans = collector.wait(2 * SPANS)
    assert len(spans) == 2 * SPANS
    roots = [span for span in spans if span["name"] == "infer tiny_dlrm"]
    assert {span["parentSpanId"] for span in roots} == {PARENT}
    assert {span["traceId"] for span in spans} == {TRACE}
    for root in roots:
        queue, run = children(root, spans)
        assert (queue["name"], run["name"]) == ("queue", "run")
        assert queue["endTimeUnixNano"] == run["startTimeUnixNano"]
        coalesce, lookups, dense, split = children(run, spans)
        assert (coalesce["name"], split["name"]) == ("coalesce", "split")
        assert (lookups["name"], attributes(lookups)["recpile.stage.kind"]) == (stages[0], "embedding")
        assert (dense["name"], attributes(dense)["recpile.stage.kind"]) == (stages[1], "compiled")
        for part in (run, lookups, dense):
            assert attributes(part)["recpile.batch.candidates"] == "2"
            assert attributes(part)["recpile.instance"] in ("0", "1")
    logged = [json.loads(line) for line in log.read_text().splitlines() if '"event":"request"' in line]
    assert [line.get("trace_id") for line in logged] == [TRACE, TRACE, TRACE, None]


def test_without_a_traceparent_a_trace_begins_here_and_is_in_the_log(tiny, tmp_path):
    log = tmp_path / "log"
    with collecting() as (collector, url):
        with ServerProcess(tiny, "--otlp-endpoint", url, "--log-requests", "--log-format", "json", log=log) as server:
            assert post(server, json_request())[0] == 200
        # What waited is sent when the server stops.
        root, *_ = collector.wait(SPANS)
    assert "parentSpanId" not in root
    (logged,) = [json.loads(line) for line in log.read_text().splitlines() if '"event":"request"' in line]
    assert logged["trace_id"] == root["traceId"]


def test_requests_that_are_coalesced_have_each_the_whole_run_and_links_to_the_others(tiny):
    with collecting() as (collector, url):
        options = ("--preferred-batch-size", "8", "--max-queue-delay-microseconds", "60000000", "--instances", "1")
        with ServerProcess(tiny, "--otlp-endpoint", url, *options) as server:
            many(server, 4)  # of two candidates each
        spans = collector.wait(4 * SPANS)
    roots = {(span["traceId"], span["spanId"]) for span in spans if span["name"] == "infer tiny_dlrm"}
    runs = [span for span in spans if span["name"] == "run"]
    assert len({trace for trace, _ in roots}) == 4
    assert {attributes(run)["recpile.batch"] for run in runs} == {"1"}
    for run in runs:
        assert attributes(run)["recpile.batch.requests"] == "4"
        assert attributes(run)["recpile.batch.candidates"] == "8"
        assert attributes(run)["recpile.candidates"] == "2"
        assert len(children(run, spans)) == 4
        others = {(link["traceId"], link["spanId"]) for link in run["links"]}
        assert others == {root for root in roots if root[0] != run["traceId"]}


def test_a_request_cut_over_several_batches_has_a_run_for_each(tiny):
    with collecting() as (collector, url):
        with ServerProcess(tiny, "--otlp-endpoint", url, "--max-batch-size", "1", "--instances", "1") as server:
            assert post(server, json_request())[0] == 200
        spans = collector.wait(1 + 2 * (SPANS - 1))
    (root,) = (span for span in spans if "parentSpanId" not in span)
    batches = {attributes(span)["recpile.batch"] for span in spans if span["name"] == "run"}
    inside = [span["name"] for span in spans if span.get("parentSpanId") == root["spanId"]]
    assert (sorted(inside), len(batches)) == (["queue", "queue", "run", "run"], 2)


def test_a_collector_that_is_not_there_harms_nobody_and_what_it_misses_is_counted(tiny, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tiny, "--otlp-endpoint", "http://127.0.0.1:9", log=log) as server:
        many(server, 5000)
        metrics = scrape(server)
        assert server.stop() == 0
    assert metrics["recpile_otlp_exported_count"] == 0
    # One batch may be on its way, 4096 wait.
    assert metrics["recpile_otlp_dropped_count"] >= 5000 - 4096 - 256
    assert log.read_text().count("no spans to 127.0.0.1:9: Connection refused") == 1


def test_spans_that_a_collector_refuses_are_counted_as_dropped(tiny):
    with collecting(status=400) as (collector, url), ServerProcess(tiny, "--otlp-endpoint", url) as server:
        assert post(server, json_request())[0] == 200
        collector.wait(SPANS)
        wait_for("dropped spans", lambda: scrape(server)["recpile_otlp_dropped_count"] > 0)


def test_a_wrong_endpoint_is_exit_code_2(tiny):
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*--otlp-endpoint: got https://x: only plain http"):
        ServerProcess(tiny, "--otlp-endpoint", "https://x").__enter__()
