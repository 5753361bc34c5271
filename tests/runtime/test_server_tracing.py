"""--trace-out: what is written down of requests and batches, and what happens when it cannot be."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from wire import json_request, many, post

from recpile.pycompiler.server_process import ServerError, ServerProcess

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


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
        assert post(server, json_request(), traceparent=f"00-{TRACE}-{PARENT}-01")[0] == 200
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
        for _ in range(10):  # the more of them share batches, the later it has so much to say
            many(server, 2500)
            if "ends" in log.read_text():
                break
    assert (1 << 20) - 5000 < trace.stat().st_size <= 1 << 20
    assert events_of(trace)
    assert "has its 1 MiB and ends" in log.read_text()


def test_a_full_disk_ends_the_trace_and_nothing_else(tiny, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tiny, "--trace-out", "/dev/full", log=log) as server:
        many(server, 300)
        assert post(server, json_request())[0] == 200
    assert log.read_text().count("the trace in /dev/full ends: No space left on device") == 1


def test_a_file_that_cannot_be_written_is_exit_code_2(tiny, tmp_path):
    with pytest.raises(ServerError, match=r"(?s)exited with 2.*--trace-out: cannot write .*nowhere/t: No such file"):
        ServerProcess(tiny, "--trace-out", str(tmp_path / "nowhere" / "t")).__enter__()
