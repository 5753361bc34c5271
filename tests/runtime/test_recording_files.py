"""Recordings as files: read in order, up to damage; compared with answers; options that say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recordings import record, written

from recpile.pycompiler.recording.read import HEADER, Recorded, Recording, RecordingError
from recpile.pycompiler.recording.replay import ReplayOptions, parse_pace, replay
from recpile.pycompiler.recording.report import Measured


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
