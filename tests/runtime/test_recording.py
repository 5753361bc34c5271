"""Live requests recorded by the server, and replayed: files, servers and clients as people use them."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import xxhash
from recordings import unanswered, written
from wire import flat_request, tensors

from recpile.pycompiler.recording.read import HEADER, Recording, RecordingError
from recpile.pycompiler.recording.replay import ReplayOptions, replay
from recpile.pycompiler.server_process import ServerError, ServerProcess


def recpile(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recpile.pycompiler.cli.main", *arguments]
    return subprocess.run(command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def live(tiny, tmp_path_factory) -> Path:
    """Three requests over HTTP and two over gRPC, of which one is refused, all recorded."""
    path = tmp_path_factory.mktemp("live") / "live.rec"
    with ServerProcess(tiny, "--record", str(path), "--record-share", "1") as server:
        over_http = http_client.InferenceServerClient(server.url)
        for _ in range(3):
            over_http.infer("tiny_dlrm", tensors(http_client, flat_request()))
        over_grpc = grpc_client.InferenceServerClient(server.grpc_url)
        over_grpc.infer("tiny_dlrm", tensors(grpc_client, flat_request()))
        bad = {**flat_request(), "sparse.values": np.full(10, 10_000)}
        with pytest.raises(grpc_client.InferenceServerException, match="10000"):
            over_grpc.infer("tiny_dlrm", tensors(grpc_client, bad))
    return path


def test_the_server_records_both_protocols_with_their_answers(live):
    recording = Recording(live)
    assert (recording.models, recording.damage) == ({("tiny_dlrm", "1"): 5}, "")
    requests = list(recording)
    assert [one.status for one in requests] == ["OK"] * 4 + ["INVALID_ARGUMENT"]
    assert "10000" in requests[-1].error
    for one in requests[:4]:
        for name, value in flat_request().items():
            np.testing.assert_array_equal(one.inputs[name].values, value)
        assert one.outputs["score"].values.shape == (2,)
        assert one.elapsed_us > 0
    assert [one.at_us for one in requests] == sorted(one.at_us for one in requests)


@pytest.mark.parametrize("pace", ["max", "50x"])
def test_a_replay_to_the_same_model_finds_the_same_answers(live, tiny, pace):
    with ServerProcess(tiny) as server:
        ran = recpile("replay", str(live), "--url", server.url, "--pace", pace, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert (told["requests"], told["compared"], told["above_tolerance"]) == (5, 4, 0)
    assert (told["failed"], told["refused_again"], told["now_answered"]) == (0, 1, 0)
    assert told["largest_difference"] <= 1e-5
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99.9"] <= told["latency_ms"]["max"]


def test_a_replay_takes_as_long_as_the_recording_did(tiny, tmp_path):
    recording = Recording(written(tmp_path, HEADER + unanswered(0) + unanswered(1_000_000)))
    with ServerProcess(tiny) as server:
        assert replay(recording, ReplayOptions(server.url, pace=1.0)).seconds >= 1.0
        assert replay(recording, ReplayOptions(server.url, pace=2.0)).seconds >= 0.5
        assert len(replay(recording, ReplayOptions(server.url, pace=2.0, limit=1)).latencies) == 1


def test_answers_of_another_model_are_counted_and_the_command_exits_1(live, tiny, tmp_path):
    changed = bytearray(live.read_bytes())
    recording = Recording(live)
    at = recording._places[0].offset
    size, _ = struct.unpack_from("<IQ", changed, at)
    struct.pack_into("<f", changed, at + 12 + size - 4, 7.5)  # the last score of the first answer
    checksum = xxhash.xxh3_64_intdigest(bytes(changed[at + 12 : at + 12 + size]))
    struct.pack_into("<IQ", changed, at, size, checksum)
    with ServerProcess(tiny) as server:
        ran = recpile("replay", str(written(tmp_path, bytes(changed))), "--url", server.url, "--pace", "max")
    assert ran.returncode == 1, ran.stderr
    assert re.search(
        r"4 answers compared: 1 differ by more than 1e-05, the largest difference is [67]\.\d+", ran.stdout
    )
    assert "refused when recorded: 1 were again, 0 were answered" in ran.stdout


def test_another_version_is_refused_unless_it_is_asked_for(live, tiny, tmp_path):
    (tmp_path / "tiny_dlrm").mkdir()
    (tmp_path / "tiny_dlrm" / "2.pt2").symlink_to(tiny)
    with ServerProcess(None, "--model-repository", str(tmp_path)) as server:
        refused = recpile("replay", str(live), "--url", server.url, "--pace", "max")
        assert refused.returncode == 2
        assert f"has requests of tiny_dlrm version 1; {server.url} serves version 2: serve the rec" in refused.stderr
        ran = recpile("replay", str(live), "--url", server.url, "--pace", "max", "--any-version")
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_server_that_is_not_there_or_has_no_such_model_is_named(live, tmp_path):
    with pytest.raises(RecordingError, match="model 'tiny_dlrm' of the recording, at localhost:1: "):
        replay(Recording(live), ReplayOptions("localhost:1"))


def test_the_server_refuses_to_start_on_a_file_that_is_no_recording(tiny, tmp_path):
    path = written(tmp_path, b"somebody's notes, longer than the header")
    with pytest.raises(ServerError, match="is there, and is no recording"), ServerProcess(tiny, "--record", str(path)):
        pass
    assert path.read_bytes() == b"somebody's notes, longer than the header"


def test_record_starts_a_server_and_shows_what_a_recording_holds(live):
    assert "--record-share" in recpile("record", "x.rec", "--help").stdout
    shown = recpile("record", "--show", str(live))
    assert "tiny_dlrm version 1: 5 requests" in shown.stdout
    refused = recpile("record", "x.rec")
    assert refused.returncode == 2
    assert "no artifact: give what recpile-server is to serve behind FILE" in refused.stderr
