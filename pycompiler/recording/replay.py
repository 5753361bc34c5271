"""Sends a recording to a server over KServe v2 HTTP, at its own pace or another, and compares the answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any

from recpile.pycompiler.recording.read import Recorded, Recording, RecordingError
from recpile.pycompiler.recording.report import Measured


@dataclass(frozen=True)
class ReplayOptions:
    """`url`: "host:port" of the server. `pace`: how much faster than recorded, 1 is the original; None is as fast as
    answers to `outstanding` requests come back. `outstanding`: requests under way at most; at a pace, one that finds
    no room waits, and that counts as its latency. `limit`: only so many requests. `any_version`: send to the newest
    version if the recorded one is not served. `timeout_seconds`: for each answer."""

    url: str
    pace: float | None = 1.0
    outstanding: int = 256
    limit: int | None = None
    tolerance: float = 1e-5
    any_version: bool = False
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        if "://" in self.url:
            raise ValueError(f"url: got '{self.url}'; use HOST:PORT, the server's HTTP port")
        if self.pace is not None and not 0 < self.pace < float("inf"):
            raise ValueError(f"pace: got {self.pace}; use a number above 0, or None for as fast as possible")
        if self.outstanding < 1:
            raise ValueError(f"outstanding: got {self.outstanding}; use 1 or more")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit: got {self.limit}; use 1 or more")
        if not self.tolerance >= 0:
            raise ValueError(f"tolerance: got {self.tolerance}; use a number that is not negative")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds: got {self.timeout_seconds}; use a number above 0")


def parse_pace(text: str) -> float | None:
    """ "original", "max" or a multiple such as "2x"."""
    if text in ("original", "max"):
        return 1.0 if text == "original" else None
    if not re.fullmatch(r"\d+(\.\d+)?x", text) or not float(text[:-1]) > 0:
        raise ValueError(f"--pace: got '{text}'; use original, max, or a multiple such as 2x or 0.5x")
    return float(text[:-1])


def replay(
    recording: Recording, options: ReplayOptions, progress: Callable[[int], None] = lambda sent: None
) -> Measured:
    """Sends the requests in the order of their arrival, open loop: when each is due, whatever became of those before.

    RecordingError for an empty recording, a server that cannot be reached, or one that serves another version of the
    model than was recorded (unless `any_version`); nothing is sent then.
    """
    if not len(recording):
        raise RecordingError(
            f"{recording.path} has no whole record" + f" ({recording.damage})" * bool(recording.damage)
        )
    return asyncio.run(_replay(recording, options, progress, _client_library()))


def _client_library() -> ModuleType:
    try:
        import tritonclient.http.aio as library
    except ImportError as error:
        raise ImportError(f"recpile replay needs the KServe client: pip install 'recpile[replay]' ({error})") from error
    return library


async def _replay(
    recording: Recording, options: ReplayOptions, progress: Callable[[int], None], library: ModuleType
) -> Measured:
    measured = Measured(options.tolerance)
    clock = asyncio.get_running_loop().time
    room = asyncio.Semaphore(options.outstanding)
    client = library.InferenceServerClient(
        options.url, conn_limit=options.outstanding, conn_timeout=options.timeout_seconds
    )
    under_way: set[asyncio.Task] = set()
    async with client:
        versions = await _versions(client, recording, options)
        started, first = clock(), None
        for sent, request in enumerate(islice(recording, options.limit), 1):
            first = request.at_us if first is None else first
            due = None
            if options.pace is not None:
                due = started + (request.at_us - first) / 1e6 / options.pace
                # Also where it is late: the others must get to run.
                await asyncio.sleep(max(0.0, due - clock()))
            await room.acquire()
            task = asyncio.create_task(_send(client, library, request, versions, due, measured))
            under_way.add(task)
            task.add_done_callback(lambda done: (under_way.discard(done), room.release()))
            progress(sent)
        await asyncio.gather(*under_way)
    measured.seconds = clock() - started
    return measured


async def _versions(client: Any, recording: Recording, options: ReplayOptions) -> dict[tuple[str, str], str]:
    """(model, version) recorded -> the version to ask for; "" is the newest."""
    chosen: dict[tuple[str, str], str] = {}
    for model, version in recording.models:
        try:
            served = (await client.get_model_metadata(model))["versions"]
        except Exception as error:  # the client's own, and those of the library below it
            raise RecordingError(f"model '{model}' of the recording, at {options.url}: {_said(error)}") from error
        if version not in served and not options.any_version:
            raise RecordingError(
                f"{recording.path} has requests of {model} version {version}; {options.url} serves version "
                f"{', '.join(served)}: serve the recorded one, or give --any-version to compare with another"
            )
        chosen[model, version] = version if version in served else ""
    return chosen


async def _send(
    client: Any,
    library: ModuleType,
    request: Recorded,
    versions: dict[tuple[str, str], str],
    due: float | None,
    measured: Measured,
) -> None:
    """Sends one request, and notes how long after it was due (None: after it was sent) the answer was there."""
    clock = asyncio.get_running_loop().time
    inputs = []
    for name, tensor in request.inputs.items():
        one = library.InferInput(name, tensor.values.shape, tensor.datatype)
        one.set_data_from_numpy(tensor.values)
        inputs.append(one)
    outputs = [library.InferRequestedOutput(name) for name in request.outputs]
    version = versions[request.model, request.version]
    due = clock() if due is None else due
    measured.late.append(clock() - due)
    try:
        answer = await client.infer(
            request.model,
            inputs,
            version,
            outputs or None,
            priority=request.priority,
            timeout=request.timeout_us or None,
            parameters={"partial_ok": True} if request.partial_ok else None,
        )
    except Exception as error:
        measured.latencies.append(clock() - due)
        measured.failed(request, _said(error))
        return
    measured.latencies.append(clock() - due)
    measured.answered(request, {name: answer.as_numpy(name) for name in request.outputs})


def _said(error: Exception) -> str:
    message = getattr(error, "message", None)
    text = str(message() if callable(message) else error) or type(error).__name__
    return text.splitlines()[0]
