"""A compiled model with both batch axes: the user side once a request, in both runtimes, alone and coalesced."""

from __future__ import annotations

import numpy as np
import pytest
import zoo
from engines import together

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.quality import eager
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST
from recpile.runtime_cpp import Engine


@pytest.fixture(scope="module")
def path(export):
    return export("two_sides").path


def request(runtime: DebugRuntime, candidates: int, seed: int) -> dict:
    flat = random_inputs(runtime.manifest, candidates, seed)
    return {name: value for name, value in flat.items() if name != CANDIDATE_TO_REQUEST}


def test_the_user_side_is_looked_up_and_computed_on_the_request_axis(path) -> None:
    stages = DebugRuntime(path).manifest["stages"]
    axes = [stage["outputs"][0]["shape"][0] for stage in stages if stage["kind"] == "embedding"]
    assert sorted(axes) == ["about.nnz", "candidate", "request"]


@pytest.mark.proves("The passes", "request side once", "numerics in both runtimes")
@pytest.mark.proves("Plain PyTorch", "transformer or recurrent layers over a history", "numerics in both runtimes")
@pytest.mark.parametrize("candidates", [1, 2, 17, 200])
def test_both_runtimes_answer_as_eager_does_and_alike(path, candidates: int) -> None:
    model, schema = zoo.two_sides()
    runtime, engine = DebugRuntime(path), Engine(path, instances=1)
    flat = request(runtime, candidates, seed=candidates)
    debug = runtime.run(flat)["score"].numpy()
    served = engine.infer({name: value.numpy() for name, value in flat.items()})["score"]
    assert np.abs(debug - eager(model, schema, flat)[0].numpy()).max() <= 1e-5
    assert np.array_equal(debug, served)


def test_requests_that_share_a_batch_get_their_own_users_answers(path) -> None:
    model, schema = zoo.two_sides()
    runtime, engine = DebugRuntime(path), Engine(path, instances=2, max_batch_size=64)
    requests = [request(runtime, 1 + seed % 5, seed) for seed in range(60)]
    arrays = [{name: value.numpy() for name, value in flat.items()} for flat in requests]
    ran = together(engine, arrays, instances=2)
    assert ran.batches < 60
    for flat, answer in zip(requests, ran.answers, strict=True):
        assert np.abs(answer["score"] - eager(model, schema, flat)[0].numpy()).max() <= 1e-5
