"""Engines in this process whose instances a test keeps busy for as long as it likes, however fast the machine is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from wire import PATIENCE

from recpile.runtime_cpp import Engine

Arrays = Mapping[str, np.ndarray]


@contextmanager
def held(engine: Engine, request: Arrays, instances: int = 1) -> Iterator[None]:
    """Within the block the engine, which has so many instances, takes nothing from its queue.

    Each instance is in the callback of a request that it has answered, and leaves it when the block ends. `request` is
    any that the engine answers; it may be answered more than once an instance, so look at the counters within.
    """
    over = threading.Event()
    try:
        for _ in range(instances):
            _hold_one(engine, request, over)
        del engine  # within the block the caller may give up its own, the last one
        yield
    finally:
        over.set()


def _hold_one(engine: Engine, request: Arrays, over: threading.Event) -> None:
    here = threading.get_ident()
    for _ in range(1000):
        inside, called_here = threading.Event(), threading.Event()

        def hold(_: object, inside: threading.Event = inside, called_here: threading.Event = called_here) -> None:
            if threading.get_ident() == here:  # answered before it had a callback: no instance is in this one
                called_here.set()
                return
            inside.set()
            over.wait(PATIENCE)

        engine.submit(request).add_done_callback(hold)
        if not called_here.is_set():
            assert inside.wait(PATIENCE), "a request is not answered"
            return
    raise AssertionError("no instance calls back")


@dataclass(frozen=True)
class Together:
    """The answers to requests that waited together, in their order, and what the engine counted of them."""

    answers: list[dict[str, np.ndarray]]
    requests_ok: int
    batches: int
    samples: int


def together(engine: Engine, requests: Sequence[Arrays], instances: int = 1) -> Together:
    """Of an engine that has so many instances: none of them begins before all of the requests wait."""
    names = ("requests_ok", "batches", "samples")
    with held(engine, requests[0], instances):
        before = engine.stats()
        futures = [engine.submit(one) for one in requests]
    answers = [one.result(timeout=PATIENCE) for one in futures]
    after = engine.stats()
    return Together(answers, **{name: after[name] - before[name] for name in names})
