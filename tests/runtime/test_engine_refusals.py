"""Options and requests that the C++ engine refuses, with what is wrong named."""

from __future__ import annotations

import numpy as np
import pytest

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.inputs import InputError
from recpile.runtime_cpp import Engine


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"instances": -1}, "instances: got -1; use 0 or more"),
        ({"max_batch_size": 0}, "max_batch_size: got 0; use 1 or more"),
        ({"max_queue_size": 0}, "max_queue_size: got 0; use 1 or more"),
        ({"max_queue_delay_microseconds": -5}, "max_queue_delay_microseconds: got -5; use 0 or more"),
    ],
)
def test_options_are_validated(tiny, option, message):
    with pytest.raises(ValueError, match=message):
        Engine(str(tiny), **option)


def good() -> dict[str, np.ndarray]:
    return {
        "dense": np.zeros((2, 4), np.float32),
        "sparse.values": np.array([1, 2, 3, 4, 5, 6, 0, 1, 2, 3]),
        "sparse.lengths": np.ones((5, 2), np.int64),
    }


BAD = {
    "an unknown name": (
        lambda r: r.update(extra=r["dense"]),
        "unknown input 'extra'; the model's inputs are dense, sparse",
    ),
    "a missing input": (lambda r: r.pop("dense"), "input 'dense' is missing"),
    "a wrong dtype": (lambda r: r.update(dense=r["dense"].astype(np.float64)), "input 'dense' is fp64; expected fp32"),
    "a wrong rank": (lambda r: r.update(dense=r["dense"][0]), r"'dense' has shape \[4\]; expected \[-1, 4\]"),
    "a wrong size": (lambda r: r.update(dense=r["dense"][:, :3]), r"'dense' has shape \[2, 3\]; expected \[-1, 4\]"),
    "batches that disagree": (lambda r: r.update(dense=r["dense"][:1]), "has 2 candidates; input 'dense' has 1"),
    "too few values": (lambda r: r.update({"sparse.values": r["sparse.values"][:9]}), "'sparse.lengths' sums to"),
    "too many values": (
        lambda r: r.update({"sparse.values": np.zeros(11, np.int64)}),
        "sums to 10, but 'sparse.values' has 11",
    ),
    "a negative length": (
        lambda r: r["sparse.lengths"].__setitem__((1, 0), -1),
        "has -1 at index 2; lengths are 0 or more",
    ),
    "an id past the end": (
        lambda r: r["sparse.values"].__setitem__(2, 80),
        r"has id 80 at index 2 \(key 'item'\); table 'item' has ids 0 to 79",
    ),
    "a negative id": (lambda r: r["sparse.values"].__setitem__(0, -1), r"has id -1 at index 0 \(key 'user'\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_named_by_both_runtimes_and_harms_nothing(tiny, what):
    spoil, message = BAD[what]
    engine, runtime = Engine(str(tiny), instances=1), DebugRuntime(tiny)
    request = good()
    before = engine.infer(good())["score"]
    spoil(request)
    with pytest.raises(ValueError, match=message):
        engine.infer(request)
    with pytest.raises(InputError, match=message):
        runtime.run(request)
    np.testing.assert_array_equal(engine.infer(good())["score"], before)
    engine.stop()


def test_an_empty_request_is_refused(tiny):
    empty = {
        "dense": np.zeros((0, 4), np.float32),
        "sparse.values": np.zeros(0, np.int64),
        "sparse.lengths": np.zeros((5, 0), np.int64),
    }
    with pytest.raises(ValueError, match="the request is empty: input 'dense' has 0 candidates"):
        Engine(str(tiny)).infer(empty)
