"""The Python side of the engine: who owns what, and when."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
from engines import held
from wire import PATIENCE

from recpile.runtime_cpp import Engine


def request(rows: int = 2) -> dict[str, np.ndarray]:
    return {
        "dense": np.linspace(0, 1, rows * 4, dtype=np.float32).reshape(rows, 4),
        "sparse.values": np.arange(5 * rows) % 7,
        "sparse.lengths": np.ones((5, rows), np.int64),
    }


@pytest.fixture
def engine(tiny: Path):
    made = Engine(tiny, instances=1)
    yield made
    made.stop()


def test_arrays_may_be_refilled_once_submit_has_returned(engine):
    wanted = engine.infer(request())["score"]
    given = request()
    with held(engine, request()):
        future = engine.submit(given)
        for array in given.values():
            array[...] = -(10**6)
    np.testing.assert_array_equal(future.result(PATIENCE)["score"], wanted)


def test_arrays_of_another_byte_order_or_layout_mean_what_they_say(engine):
    wanted = engine.infer(request())["score"]
    odd = request()
    odd["dense"] = np.asfortranarray(odd["dense"]).astype(">f4")
    odd["sparse.values"] = np.repeat(odd["sparse.values"], 2)[::2].astype(">i8")
    np.testing.assert_array_equal(engine.infer(odd)["score"], wanted)


def test_an_array_of_a_type_that_no_model_takes_is_named(engine):
    with pytest.raises(TypeError, match="input 'dense' has numpy type complex64"):
        engine.infer({**request(), "dense": np.zeros((2, 4), np.complex64)})


def test_a_cancelled_future_is_done_and_harms_no_other(engine):
    with held(engine, request()):
        cancelled, other = engine.submit(request()), engine.submit(request())
        assert cancelled.cancel()
    _done, waiting = wait([cancelled, other], timeout=PATIENCE)
    assert not waiting
    assert other.result()["score"].shape == (2,)


def test_a_callback_may_drop_the_last_reference_to_the_engine(tiny):
    dropped = threading.Event()
    only = [Engine(tiny, instances=1)]

    def drop(_future) -> None:
        only.clear()
        dropped.set()

    with held(only[0], request()):
        future = only[0].submit(request())
        future.add_done_callback(drop)
    assert dropped.wait(PATIENCE)
    assert future.result(PATIENCE)["score"].shape == (2,)


def test_stop_from_a_callback_is_refused_rather_than_a_deadlock(engine):
    said: list[str] = []

    def stop(_future) -> None:
        try:
            engine.stop()
        except RuntimeError as error:
            said.append(str(error))

    with held(engine, request()):
        future = engine.submit(request())
        future.add_done_callback(stop)
    future.result(PATIENCE)
    engine.stop()
    assert said == ["stop() was called from a future's callback; call it from another thread"]


def test_python_may_end_while_requests_are_under_way(tiny):
    script = f"""
import numpy as np
from recpile.runtime_cpp import Engine
engine = Engine({str(tiny)!r}, max_queue_delay_microseconds=100_000)
inputs = {{"dense": np.zeros((1, 4), np.float32), "sparse.values": np.zeros(5, np.int64),
          "sparse.lengths": np.ones((5, 1), np.int64)}}
futures = [engine.submit(inputs) for _ in range(20)]
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=PATIENCE).returncode == 0
