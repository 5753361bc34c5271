"""Recordings made by hand, byte by byte as docs/recording.md has them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import xxhash
from tritonclient.utils import np_to_triton_dtype
from wire import flat_request

HEAD = {
    "version": "1",
    "elapsed_us": 900,
    "priority": 0,
    "timeout_us": 0,
    "status": "OK",
    "error": "",
    "of_a_later_recpile": True,
}


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
