"""--trace-out and --otlp-endpoint: what is written down of requests, and what happens when it cannot be."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc
from wire import flat_request, json_request, scrape, tensors

from recpile.pycompiler.server_process import ServerError, ServerProcess

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def post(server: ServerProcess, body: dict | bytes, **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(f"http://{server.url}/v2/models/tiny_dlrm/infer", data, headers), timeout=20
    ) as answer:
        answer.read()


def many(server: ServerProcess, requests: int) -> None:
    """At once, so that they are coalesced."""
    client, left = triton_grpc.InferenceServerClient(server.grpc_url), threading.Semaphore(0)
    for _ in range(requests):
        client.async_infer("tiny_dlrm", tensors(triton_grpc, flat_request()), lambda result, error: left.release())
    for _ in range(requests):
        assert left.acquire(timeout=60)


def events_of(path: Path) -> list[dict]:
    return [event for event in json.loads(path.read_text()) if event.get("ph") == "X"]


def parts(event: dict, events: list[dict]) -> list[dict]:
    """What lies within the event on its own lane, in order."""
    begin, end = event["ts"], event["ts"] + event["dur"]
    inside = [
        one
        for one in events
        if one is not event and (one["pid"], one["tid"]) == (event["pid"], event["tid"]) and begin <= one["ts"] < end
    ]
    assert all(one["ts"] + one["dur"] <= end + 1e-3 for one in inside)
    return sorted(inside, key=lambda one: one["ts"])


def test_a_trace_has_every_request_and_batch_and_they_nest(tiny, tmp_path):
    trace = tmp_path / "trace.json"
    with ServerProcess(tiny, "--trace-out", str(trace), "--instances", "2") as server:
        many(server, 40)
        post(server, json_request(), traceparent=f"00-{TRACE}-{PARENT}-01")
    events = events_of(trace)
    batches = [event for event in events if event["cat"] == "batch"]
    requests = [event for event in events if event["cat"] == "request"]
    assert len(requests) == 41
    assert sum(batch["args"]["requests"] for batch in batches) == 41
    assert sum(batch["args"]["candidates"] for batch in batches) == 82
    ran = {batch["args"]["batch"] for batch in batches}
    for batch in batches:
        inside = parts(batch, events)
        assert [one["cat"] for one in inside] == ["coalesce", "stage", "stage", "answer"]
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-3 for a, b in pairwise(inside))
    for request in requests:
        assert [one["name"] for one in parts(request, events)] == ["decode", "queue", "run"]
        assert request["args"]["batch"] in ran
    # Those of one lane lie one behind the other.
    for lane in {request["tid"] for request in requests}:
        row = sorted((one for one in requests if one["tid"] == lane), key=lambda one: one["ts"])
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-3 for a, b in pairwise(row))
    (http,) = [request for request in requests if request["args"]["protocol"] == "http"]
    assert (http["args"]["id"], http["args"]["trace_id"]) == ("first", TRACE)


def test_a_trace_ends_where_it_may_be_no_larger(tiny, tmp_path):
    trace, log = tmp_path / "trace.json", tmp_path / "log"
    with ServerProcess(tiny, "--trace-out", str(trace), "--trace-out-megabytes", "1", log=log) as server:
        many(server, 2500)
    assert (1 << 20) - 5000 < trace.stat().st_size <= 1 << 20
    assert events_of(trace)
    assert "has its 1 MiB and ends" in log.read_text()


def test_a_full_disk_ends_the_trace_and_nothing_else(tiny, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tiny, "--trace-out", "/dev/full", log=log) as server:
        many(server, 300)
        post(server, json_request())
    assert log.read_text().count("the trace in /dev/full ends: No space left on device") == 1


def test_a_file_that_cannot_be_written_is_exit_code_2(tiny, tmp_path):
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*--trace-out: cannot write .*nowhere/t: No such file"):
        ServerProcess(tiny, "--trace-out", str(tmp_path / "nowhere" / "t")).__enter__()


class Collector:
    """An OpenTelemetry collector, as far as it takes spans."""

    def __init__(self) -> None:
        self.spans: list[dict] = []
        self.came = threading.Condition()
        self.status = 200

    def wait(self, spans: int) -> list[dict]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.spans) >= spans, timeout=60), self.spans
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


def test_spans_of_both_protocols_reach_a_collector_in_the_clients_trace(tiny, tmp_path):
    log = tmp_path / "log"
    parent = f"00-{TRACE}-{PARENT}-01"
    options = ("--log-requests", "--log-format", "json", "--otlp-sample-ratio", "0")
    with collecting() as (collector, url):
        with ServerProcess(tiny, "--otlp-endpoint", url, *options, log=log) as server:
            post(server, json_request(), traceparent=parent)
            client = triton_grpc.InferenceServerClient(server.grpc_url)
            client.infer("tiny_dlrm", tensors(triton_grpc, flat_request()), headers={"traceparent": parent})
            # Neither is one that anybody asked to see.
            post(server, json_request(), traceparent=f"00-{TRACE}-{PARENT}-00")
            post(server, json_request())
            collector.wait(6)
        spans = collector.wait(6)
    assert len(spans) == 6
    roots = [span for span in spans if span["name"] == "infer tiny_dlrm"]
    assert {span["parentSpanId"] for span in roots} == {PARENT}
    assert {span["traceId"] for span in spans} == {TRACE}
    for root in roots:
        inside = {span["name"]: span for span in spans if span.get("parentSpanId") == root["spanId"]}
        assert set(inside) == {"queue", "run"}
        for one in inside.values():
            assert int(root["startTimeUnixNano"]) <= int(one["startTimeUnixNano"]) <= int(one["endTimeUnixNano"])
            assert int(one["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
    logged = [json.loads(line) for line in log.read_text().splitlines() if '"event":"request"' in line]
    assert [line.get("trace_id") for line in logged] == [TRACE, TRACE, TRACE, None]


def test_without_a_traceparent_a_trace_begins_here_and_is_in_the_log(tiny, tmp_path):
    log = tmp_path / "log"
    with collecting() as (collector, url):
        with ServerProcess(tiny, "--otlp-endpoint", url, "--log-requests", "--log-format", "json", log=log) as server:
            post(server, json_request())
        # What waited is sent when the server stops.
        root, *_ = collector.wait(3)
    assert "parentSpanId" not in root
    (logged,) = [json.loads(line) for line in log.read_text().splitlines() if '"event":"request"' in line]
    assert logged["trace_id"] == root["traceId"]


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
        post(server, json_request())
        collector.wait(3)
        while scrape(server)["recpile_otlp_dropped_count"] == 0:
            pass


def test_a_wrong_endpoint_is_exit_code_2(tiny):
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*--otlp-endpoint: got https://x: only plain http"):
        ServerProcess(tiny, "--otlp-endpoint", "https://x").__enter__()
