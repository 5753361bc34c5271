"""Branches of a model as stages of their own: the engine may run them side by side, and nobody can tell from the
answers."""

from __future__ import annotations

from concurrent.futures import wait

import numpy as np
import pytest
import torch
from compiler.stages import BOTH, TwoTowers

from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import InputSchema
from recpile.runtime_cpp import Engine


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("towers") / "towers.pt2"
    return compile_model(TwoTowers(1024), InputSchema(BOTH, ("score",)), path, CompileOptions("towers")).path


def test_each_tower_is_a_stage_with_a_time_of_its_own(towers):
    engine = Engine(str(towers), instances=2)
    runtime = DebugRuntime(towers)
    engine.infer({name: value.numpy() for name, value in random_inputs(runtime.manifest, 4, seed=0).items()})
    stages = engine.stats()["stages"]
    assert list(stages) == ["dense_0", "dense_1", "dense_2"]
    assert all(sum(stage["counts"]) == 1 for stage in stages.values())
    engine.stop()


@pytest.mark.proves("The passes", "split", "numerics in both runtimes")
@pytest.mark.parametrize("instances", [1, 2])
def test_the_engine_answers_as_the_debug_runtime_does_bit_for_bit(towers, instances):
    engine, runtime = Engine(str(towers), instances=instances), DebugRuntime(towers)
    for round_ in range(5):
        requests = [random_inputs(runtime.manifest, rows, seed=round_) for rows in (1, 3, 64, 200)]
        for flat in requests:  # alone: the other thread is idle
            answer = engine.infer({name: value.numpy() for name, value in flat.items()})
            np.testing.assert_array_equal(answer["score"], runtime.run(flat)["score"].numpy())
    engine.stop()


def test_under_load_every_request_gets_its_own_answer(towers):
    engine, runtime = Engine(str(towers), instances=2, max_batch_size=256), DebugRuntime(towers)
    requests = [random_inputs(runtime.manifest, 1 + i % 40, seed=i) for i in range(60)]
    futures = [engine.submit({name: value.numpy() for name, value in flat.items()}) for flat in requests]
    wait(futures, timeout=120)
    for flat, future in zip(requests, futures, strict=True):
        np.testing.assert_allclose(future.result()["score"], runtime.run(flat)["score"].numpy(), atol=1e-6)
    engine.stop()
