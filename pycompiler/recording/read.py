"""Reads a recording of live requests. docs/recording.md is its format; runtime_cpp/server/recording/ writes it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import xxhash

T = TypeVar("T")

HEADER = b"recpile-recording 1\n"
_RECORD = struct.Struct("<IQ")  # bytes of the payload, their XXH3-64
_JSON = struct.Struct("<I")
# As KServe v2 names them. numpy has no bf16: it is read as its 16 bits, and widened.
_DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "BF16": np.uint16,
    "FP32": np.float32,
    "FP64": np.float64,
}


class RecordingError(ValueError):
    """A file that is no recording, or that cannot be replayed as was asked."""


@dataclass(frozen=True)
class RecordedTensor:
    """`datatype` as KServe v2 names it; BF16 values are held as fp32."""

    datatype: str
    values: np.ndarray


@dataclass(frozen=True)
class Recorded:
    """One request and its answer. `at_us`: when it arrived, Unix time in microseconds. `status`: "OK", or the code with
    which it was refused; it has no outputs then."""

    model: str
    version: str
    at_us: int
    elapsed_us: int
    priority: int
    timeout_us: int
    status: str
    error: str
    inputs: Mapping[str, RecordedTensor]
    outputs: Mapping[str, RecordedTensor]
    partial_ok: bool = False


@dataclass(frozen=True)
class _Place:
    at_us: int
    offset: int


class Recording:
    """A recording, its records in the order in which the requests arrived (they are written when they are answered).

    Opening reads the file once, for the index and the checksums. A part of a record at the end, or a record that does
    not match its checksum, ends what is read: `damage` then says where and why, and is "" otherwise.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise RecordingError(f"no recording at {self.path}")
        self.damage = ""
        self.models: dict[tuple[str, str], int] = {}  # (model, version) -> requests
        places: list[_Place] = []
        with self.path.open("rb") as file:
            self._check_header(file)
            for offset, payload in self._payloads(file):
                at_us, model, version = self._parse(_arrival, payload, offset)
                places.append(_Place(at_us, offset))
                self.models[model, version] = self.models.get((model, version), 0) + 1
        self._places = sorted(places, key=lambda one: one.at_us)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def seconds(self) -> float:
        """From the first arrival to the last."""
        return (self._places[-1].at_us - self._places[0].at_us) / 1e6 if self._places else 0.0

    def __iter__(self) -> Iterator[Recorded]:
        with self.path.open("rb") as file:
            for place in self._places:
                file.seek(place.offset)
                size, _ = _RECORD.unpack(file.read(_RECORD.size))
                yield self._parse(_record, file.read(size), place.offset)

    def _check_header(self, file: BinaryIO) -> None:
        got = file.read(len(HEADER))
        if got == HEADER:
            return
        name, _, version = got.partition(b" ")
        if name == HEADER.partition(b" ")[0]:
            number = version.decode(errors="replace").strip()
            raise RecordingError(f"{self.path} has format version {number}; this recpile reads version 1")
        raise RecordingError(f"{self.path} is not a recording of recpile-server --record")

    def _parse(self, parse: Callable[[bytes], T], payload: bytes, offset: int) -> T:
        try:
            return parse(payload)
        except (struct.error, LookupError, TypeError, ValueError, RecursionError) as error:
            what = f"{type(error).__name__}: {error}"
            message = f"{self.path}: the record at byte {offset:,} has the right checksum, and is no record ({what})"
            raise RecordingError(message) from error

    def _payloads(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        end = self.path.stat().st_size
        while header := file.read(_RECORD.size):
            offset = file.tell() - len(header)
            size, checksum = _RECORD.unpack(header) if len(header) == _RECORD.size else (0, 0)
            # A size is no reason to take so much memory.
            payload = file.read(min(size, end - offset))
            if len(header) < _RECORD.size or len(payload) < size:
                left = self.path.stat().st_size - offset
                self.damage = f"{self.path} ends in the middle of a record: its last {left:,} bytes are left out"
                return
            if xxhash.xxh3_64_intdigest(payload) != checksum:
                left = self.path.stat().st_size - offset
                self.damage = f"{self.path} is damaged at byte {offset:,}: that and the {left:,} bytes on are left out"
                return
            yield offset, payload


def _head(payload: bytes) -> tuple[dict, int]:
    """A record's JSON, and where its tensors begin."""
    (size,) = _JSON.unpack_from(payload)
    end = _JSON.size + size
    head = json.loads(payload[_JSON.size : end])
    if not isinstance(head, dict):
        raise TypeError("its JSON is no object")
    return head, end


def _arrival(payload: bytes) -> tuple[int, str, str]:
    head = _head(payload)[0]
    at_us, model, version = head["at_us"], head["model"], head["version"]
    if not (isinstance(at_us, int) and isinstance(model, str) and isinstance(version, str)):
        raise TypeError("at_us is an integer, model and version are text")
    return at_us, model, version


def _record(payload: bytes) -> Recorded:
    head, at = _head(payload)
    sides: list[dict[str, RecordedTensor]] = []
    for side in ("inputs", "outputs"):
        tensors: dict[str, RecordedTensor] = {}
        for one in head.pop(side):
            dtype = np.dtype(_DTYPES[one["datatype"]])
            count = int(np.prod(one["shape"], dtype=np.int64))
            values = np.frombuffer(payload, dtype, count, at).reshape(one["shape"])
            at += values.nbytes
            if one["datatype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            tensors[one["name"]] = RecordedTensor(one["datatype"], values)
        sides.append(tensors)
    known = {name: head[name] for name in Recorded.__dataclass_fields__ if name in head}
    return Recorded(**known, inputs=sides[0], outputs=sides[1])
