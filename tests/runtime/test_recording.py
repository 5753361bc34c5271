"""Live requests recorded by the server, and replayed: files, servers and clients as people use them."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import xxhash
from tritonclient.utils import np_to_triton_dtype
from wire import flat_request, tensors

from recpile.pycompiler.recording.read import HEADER, Recorded, Recording, RecordingError
from recpile.pycompiler.recording.replay import ReplayOptions, parse_pace, replay
from recpile.pycompiler.recording.report import Measured
from recpile.pycompiler.server_process import ServerError, ServerProcess

HEAD = {
    "version": "1",
    "elapsed_us": 900,
    "priority": 0,
    "timeout_us": 0,
    "status": "OK",
    "error": "",
    "of_a_later_recpile": True,
}


def recpile(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recpile.pycompiler.cli.main", *arguments]
    return subprocess.run(command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=120)


def framed(head: dict, tensors: bytes) -> bytes:
    """A record as docs/recording.md has it."""
    text = json.dumps(head).encode()
    payload = struct.pack("<I", len(text)) + text + tensors
    return struct.pack("<IQ", len(payload), xxhash.xxh3_64_intdigest(payload)) + payload


def record(at_us: int, score: float = 0.5, **changes: object) -> bytes:
    """A record of one id asked, and one score answered."""
    inputs = [{"name": "ids.values", "datatype": "INT64", "shape": [1]}]
    outputs = [{"name": "score", "datatype": "FP32", "shape": [1]}]
    head = {**HEAD, "model": "m", "at_us": at_us, "inputs": inputs, "outputs": outputs, **changes}
    return framed(head, struct.pack("<qf", at_us, score))


def unanswered(at_us: int) -> bytes:
    """A record of a request for zoo.tiny_dlrm, of whose answer nothing is known."""
    flat = flat_request()
    about = [{"name": n, "datatype": np_to_triton_dtype(v.dtype), "shape": list(v.shape)} for n, v in flat.items()]
    tensors = b"".join(value.tobytes() for value in flat.values())
    return framed({**HEAD, "model": "tiny_dlrm", "at_us": at_us, "inputs": about, "outputs": []}, tensors)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "requests.rec"
    path.write_bytes(content)
    return path


def test_records_are_read_in_the_order_of_their_arrival(tmp_path):
    recording = Recording(written(tmp_path, HEADER + record(3_000_000) + record(1_000_000, 0.25)))
    assert (len(recording), recording.seconds, recording.damage) == (2, 2.0, "")
    assert recording.models == {("m", "1"): 2}
    first, second = recording
    assert (first.at_us, second.at_us) == (1_000_000, 3_000_000)
    assert (first.model, first.version, first.status, first.elapsed_us) == ("m", "1", "OK", 900)
    np.testing.assert_array_equal(first.inputs["ids.values"].values, np.array([1_000_000]))
    np.testing.assert_array_equal(first.outputs["score"].values, np.array([0.25], np.float32))


def test_bf16_is_widened(tmp_path):
    outputs = [{"name": "score", "datatype": "BF16", "shape": [2]}]
    (only,) = Recording(written(tmp_path, HEADER + record(1, 1.5, outputs=outputs)))
    np.testing.assert_array_equal(only.outputs["score"].values, np.array([0.0, 1.5], np.float32))


@pytest.mark.parametrize("cut", [1, 5, len(record(2)) - 1, len(record(2)) - 13])
def test_a_truncated_file_is_read_up_to_the_last_whole_record(tmp_path, cut):
    recording = Recording(written(tmp_path, HEADER + record(1) + record(2)[:cut]))
    assert [one.at_us for one in recording] == [1]
    assert recording.damage.endswith(f"ends in the middle of a record: its last {cut:,} bytes are left out")


def test_a_damaged_record_ends_what_is_read(tmp_path):
    damaged = bytearray(record(2))
    damaged[-1] ^= 1
    recording = Recording(written(tmp_path, HEADER + record(1) + bytes(damaged) + record(3)))
    assert [one.at_us for one in recording] == [1]
    assert f"is damaged at byte {len(HEADER + record(1)):,}: that and the" in recording.damage


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a recording of recpile-server --record"),
        (b"PK\x03\x04 something else entirely", "is not a recording"),
        (b"recpile-recording 2\n", "has format version 2; this recpile reads version 1"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    with pytest.raises(RecordingError, match=message):
        Recording(written(tmp_path, content))


def test_an_empty_recording_has_nothing_to_replay(tmp_path):
    with pytest.raises(RecordingError, match=r"has no whole record \(.*last 3 bytes are left out\)"):
        replay(Recording(written(tmp_path, HEADER + b"abc")), ReplayOptions("localhost:1"))


@pytest.mark.parametrize(("text", "pace"), [("original", 1.0), ("max", None), ("2x", 2.0), ("0.5x", 0.5)])
def test_paces(text, pace):
    assert parse_pace(text) == pace


@pytest.mark.parametrize("text", ["", "2", "x", "0x", "-1x", "fast"])
def test_other_paces_are_refused(text):
    with pytest.raises(ValueError, match=f"--pace: got '{text}'; use original, max, or a multiple"):
        parse_pace(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://localhost:8000"}, "use HOST:PORT"),
        ({"pace": 0.0}, "pace: got 0.0"),
        ({"outstanding": 0}, "outstanding: got 0"),
        ({"limit": 0}, "limit: got 0"),
        ({"tolerance": -1.0}, "tolerance: got -1.0"),
        ({"timeout_seconds": 0.0}, "timeout_seconds: got 0.0"),
    ],
)
def test_options_say_what_is_wrong(changes: dict[str, Any], message):
    options: dict[str, Any] = {"url": "localhost:8000", **changes}
    with pytest.raises(ValueError, match=message):
        ReplayOptions(**options)


def measured(request: Recorded, got: list[float]) -> Measured:
    made = Measured(tolerance=0.1)
    made.answered(request, {"score": np.array(got, np.float32)})
    return made


def test_answers_are_compared_with_those_recorded(tmp_path):
    (request,) = Recording(written(tmp_path, HEADER + record(1, 0.5)))
    assert measured(request, [0.5]).ok
    assert (measured(request, [0.75]).largest, measured(request, [0.75]).differing) == (0.25, 1)
    assert measured(request, [0.5, 0.5]).largest == float("inf")
    assert not measured(request, [float("nan")]).ok


def test_of_partial_answers_the_candidates_that_both_have_are_compared(tmp_path):
    (request,) = Recording(written(tmp_path, HEADER + record(1, 0.5, partial_ok=True)))
    assert measured(request, [0.5, 7.0]).ok
    assert not measured(request, [7.0]).ok


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
