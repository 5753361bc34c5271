"""The C++ engine beside the debug runtime: one request at a time, and coalesced with others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recpile.pycompiler.evaluation.evaluate import schema_of
from recpile.pycompiler.quality import take_rows
from recpile.pycompiler.schema import CANDIDATE, CANDIDATE_TO_REQUEST, REQUEST, InputSchema

# Requests of these many candidates by turns: several of each size, so that answers which change places show.
_SIZES = (1, 2, 3)
# Long enough that all of them wait together, microseconds.
_GATHER = 50_000

Arrays = dict[str, np.ndarray]


class Engine(Protocol):
    """What is asked of the engine; recpile.runtime_cpp.Engine is one."""

    def infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...
    def submit(self, inputs: Mapping[str, np.ndarray]) -> Future[dict[str, np.ndarray]]: ...
    def stats(self) -> dict: ...
    def stop(self) -> None: ...


StartEngine = Callable[[Path], Engine]


def start_engine(path: Path) -> Engine:
    """One instance, which waits until requests have gathered: what is submitted at once is one batch."""
    from recpile.runtime_cpp import Engine as CppEngine  # late: the debug runtime must work without the extension

    return CppEngine(path, instances=1, max_queue_delay_microseconds=_GATHER)


@dataclass(frozen=True)
class Answered:
    """The engine's answers: to all inputs as one request, to each small request alone, and to these sent at once, in
    `batches` batches. Answers by output name; `requests` holds the small requests' inputs."""

    whole: Arrays
    requests: list[Arrays]
    alone: list[Arrays]
    together: list[Arrays]
    batches: int


def ask_engine(path: Path, manifest: dict, inputs: Mapping[str, Tensor], start: StartEngine) -> Answered:
    """`inputs`: of one request, checked. They are also sent candidate by candidate, in requests of one to three."""
    sent = {name: value.numpy() for name, value in inputs.items() if name != CANDIDATE_TO_REQUEST}
    requests = list(cut(manifest, inputs))
    engine = start(path)
    try:
        whole = engine.infer(sent)
        alone = [engine.infer(one) for one in requests]
        before = _batches(engine)
        waiting = [engine.submit(one) for one in requests]
        together = [one.result() for one in waiting]
        return Answered(whole, requests, alone, together, _batches(engine) - before)
    finally:
        engine.stop()


def cut(manifest: dict, inputs: Mapping[str, Tensor]) -> Iterator[Arrays]:
    """The candidates of one request as several requests, each with the user and context of the one."""
    schema = schema_of(manifest)
    shared = [t.name for one in schema.inputs if one.axis == REQUEST for t in one.tensors()]
    candidates = InputSchema([one for one in schema.inputs if one.axis != REQUEST], schema.outputs)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    spec = next(spec for spec in candidates.tensors() if CANDIDATE in spec.shape)
    rows, start = arrays[spec.name].shape[spec.shape.index(CANDIDATE)], 0
    for size in cycle(_SIZES):
        if start >= rows:
            return
        end = min(start + size, rows)
        part = {name: value.numpy() for name, value in take_rows(candidates, arrays, start, end).items()}
        yield {name: arrays[name] for name in shared} | part
        start = end


def listed(answers: Iterable[Mapping[str, Tensor | np.ndarray]], names: Sequence[str]) -> list[Tensor]:
    """The outputs `names` of each answer, one list."""
    return [torch.as_tensor(one[name]) for one in answers for name in names]


def mixed_up(said: Answered, allowed: float) -> Iterator[str]:
    """What became of each request whose answer changed by being coalesced, and whose it got, if anyone's."""
    for i, (own, got) in enumerate(zip(said.alone, said.together, strict=True)):
        if _alike(own, got, allowed):
            continue
        owners = [j for j, one in enumerate(said.alone) if j != i and _alike(one, got, allowed)]
        if owners:
            yield f"request {i} got the answer of request {owners[0]}"
            continue
        for name in got:
            whose = _owners(said.alone, name, i, got[name], allowed)
            yield f"request {i}, output {name}: got {_shown(got[name])}, alone {_shown(own[name])}{whose}"


def _owners(alone: Sequence[Arrays], name: str, of: int, rows: np.ndarray, allowed: float) -> str:
    for row, value in enumerate(rows):
        for j, one in enumerate(alone):
            for k, other in enumerate(one[name]):
                if j != of and _near(other, value, allowed) and not _near(alone[of][name][row], value, allowed):
                    return f"; row {row} is row {k} of request {j}"
    return ""


def _alike(one: Arrays, other: Arrays, allowed: float) -> bool:
    return all(one[name].shape == other[name].shape and _near(one[name], other[name], allowed) for name in one)


def _near(one: np.ndarray, other: np.ndarray, allowed: float) -> bool:
    return bool(np.all(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)) <= allowed))


def _shown(rows: np.ndarray) -> str:
    return np.array2string(rows.reshape(-1)[:4], precision=6)


def _batches(engine: Engine) -> int:
    return int(engine.stats()["batches"])
