"""Recordings that nobody recorded: whatever their bytes are, reading ends with what is wrong, or with whole records."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
import xxhash

from recpile.pycompiler.recording.read import HEADER, Recording, RecordingError

GOOD = {
    "model": "m",
    "version": "1",
    "at_us": 5,
    "elapsed_us": 900,
    "priority": 0,
    "timeout_us": 0,
    "status": "OK",
    "error": "",
    "inputs": [{"name": "x", "datatype": "INT64", "shape": [1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [1]}],
}


def framed(payload: bytes) -> bytes:
    return struct.pack("<IQ", len(payload), xxhash.xxh3_64_intdigest(payload)) + payload


def payload(head: object = GOOD, tensors: bytes = bytes(12)) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + tensors


def recording(folder: Path, records: bytes) -> Path:
    (folder / "x.rec").write_bytes(HEADER + records)
    return folder / "x.rec"


STRANGE = {
    "nothing": b"",
    "no JSON": struct.pack("<I", 3) + b"{a}",
    "JSON beyond its end": struct.pack("<I", 1 << 31) + b"{}",
    "a list": payload([]),
    "endless nesting": struct.pack("<I", 100_000) + b"[" * 100_000,
    "no time": payload({name: value for name, value in GOOD.items() if name != "at_us"}),
    "a time that is text": payload({**GOOD, "at_us": "now"}),
    "a model that is a list": payload({**GOOD, "model": ["m"]}),
    "no inputs": payload({name: value for name, value in GOOD.items() if name != "inputs"}),
    "inputs that are a number": payload({**GOOD, "inputs": 3}),
    "an unknown type": payload({**GOOD, "inputs": [{"name": "x", "datatype": "FP4", "shape": [1]}]}),
    "a shape beyond memory": payload(
        {**GOOD, "inputs": [{"name": "x", "datatype": "INT64", "shape": [1 << 40, 1 << 40]}]}
    ),
    "fewer bytes than the shape has": payload(tensors=bytes(7)),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_has_the_right_checksum_and_is_no_record_is_an_error_with_its_place(tmp_path, what):
    path = recording(tmp_path, framed(payload()) + framed(STRANGE[what]))
    with pytest.raises(RecordingError, match=rf"the record at byte {len(HEADER) + len(framed(payload())):,} has"):
        list(Recording(path))


def test_a_record_that_says_it_is_huge_takes_no_memory(tmp_path):
    path = recording(tmp_path, framed(payload()) + struct.pack("<IQ", (1 << 32) - 1, 0) + b"short")
    tracemalloc.start()
    assert len(Recording(path)) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


@pytest.mark.parametrize("seed", range(300))
def test_damage_anywhere_is_an_error_or_ends_what_is_read(tmp_path, seed):
    make = random.Random(seed)
    body = bytearray(payload())
    for _ in range(make.randint(1, 4)):
        body[make.randrange(len(body))] = make.randrange(256)
    records = bytearray(framed(payload()) + framed(bytes(body)) + framed(payload()))
    if seed % 3 == 0:  # the frame too
        records[make.randrange(len(records))] ^= 1 << make.randrange(8)
    if seed % 5 == 0:
        del records[make.randrange(len(records)) :]
    try:
        read = list(Recording(recording(tmp_path, bytes(records))))
    except RecordingError:
        return
    assert len(read) <= 3
