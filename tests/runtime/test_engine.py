"""The C++ engine against the Python debug runtime and eager, on the same artifacts."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
import zoo
from engines import held, together
from wire import PATIENCE

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.quality import eager
from recpile.pycompiler.random_inputs import random_inputs
from recpile.runtime_cpp import Engine

MODELS = ["tiny_dlrm", "two_sources", "hashed_ids", "mixed_pooling", "strided_ids"]


def as_numpy(flat):
    return {name: value.numpy() for name, value in flat.items()}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch", [1, 2, 3, 17, 700])
def test_an_fp32_artifact_answers_as_eager_does(export, model, batch):
    path = export(model).path
    module, schema = getattr(zoo, model)()
    # One instance: shared out over two, the rows are others that a kernel's vectors leave over, and those may round
    # differently.
    runtime, engine = DebugRuntime(path), Engine(str(path), instances=1)
    for longest_bag in (5, 0):  # with every bag empty too
        flat = random_inputs(runtime.manifest, batch, seed=batch, longest_bag=longest_bag)
        wanted = dict(zip(schema.outputs, eager(module, schema, flat), strict=True))
        debug, answer = runtime.run(flat), engine.infer(as_numpy(flat))
        for name in schema.outputs:
            assert (debug[name] - wanted[name]).abs().max() <= 1e-5
            np.testing.assert_array_equal(answer[name], debug[name].numpy())  # bit for bit
    engine.stop()


@pytest.mark.parametrize("key", range(5))
def test_each_feature_may_be_empty_in_turn(export, key):
    compiled = export("tiny_dlrm")
    module, schema = zoo.tiny_dlrm()
    lengths = torch.ones(5, 3, dtype=torch.int64)
    lengths[key] = 0
    flat = {
        "dense": torch.arange(12.0).view(3, 4) / 12,
        "sparse.values": torch.arange(12) % 7,
        "sparse.lengths": lengths,
    }
    answer = Engine(str(compiled.path)).infer(as_numpy(flat))
    assert np.abs(answer["score"] - eager(module, schema, flat)[0].numpy()).max() <= 1e-5


@pytest.mark.parametrize(
    ("tables", "dense", "at_most"),
    [
        ("fp16,user=int4,genres=int2,city=bf16", "fp32", 0.2),
        ("int8", "bf16", 0.05),
        ("bf16", "fp16", 0.02),
    ],
)
def test_a_quantized_artifact_is_close_to_eager_and_equal_in_both_runtimes(export, tables, dense, at_most):
    path = export("tiny_dlrm", tables, dense).path
    module, schema = zoo.tiny_dlrm()
    runtime, engine = DebugRuntime(path), Engine(str(path), instances=1)
    flat = random_inputs(runtime.manifest, 64, seed=1)
    debug, answer = runtime.run(flat), engine.infer(as_numpy(flat))
    np.testing.assert_array_equal(answer["score"], debug["score"].numpy())
    difference = np.abs(answer["score"] - eager(module, schema, flat)[0].numpy()).max()
    assert 0 < difference < at_most
    engine.stop()


@pytest.mark.parametrize("model", MODELS)
def test_coalesced_requests_get_the_answers_that_they_get_alone(export, model):
    path = export(model).path
    runtime, engine = DebugRuntime(path), Engine(str(path), instances=1)
    requests = [random_inputs(runtime.manifest, 1 + seed % 7, seed) for seed in range(200)]
    ran = together(engine, [as_numpy(flat) for flat in requests])
    for flat, answer in zip(requests, ran.answers, strict=True):
        for name, wanted in runtime.run(flat).items():
            # Another batch size may take another matrix kernel, which rounds differently; a wrong row is far off.
            np.testing.assert_allclose(answer[name], wanted.numpy(), atol=2e-6, rtol=0)
    assert (ran.requests_ok, ran.batches) == (200, 1)
    assert ran.samples == sum(1 + seed % 7 for seed in range(200))
    engine.stop()


def test_stop_answers_every_accepted_request_and_refuses_the_next(export):
    path = export("tiny_dlrm").path
    engine = Engine(str(path), instances=1, max_batch_size=4)
    flat = as_numpy(random_inputs(DebugRuntime(path).manifest, 4))
    futures = [engine.submit(flat) for _ in range(500)]
    engine.stop()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(RuntimeError, match="stopping"):
        engine.infer(flat)


def test_a_full_queue_refuses_and_says_so(export):
    path = export("tiny_dlrm").path
    engine = Engine(str(path), instances=1, max_queue_size=1)
    flat = as_numpy(random_inputs(DebugRuntime(path).manifest, 1))
    with held(engine, flat):
        waiting = engine.submit(flat)
        with pytest.raises(RuntimeError, match="queue is full: 1 requests wait"):
            engine.submit(flat)
    waiting.result(timeout=PATIENCE)
    engine.stop()
    assert engine.stats()["requests_rejected"] == 1


def test_answers_outlive_the_engine(export):
    path = export("tiny_dlrm").path
    flat = random_inputs(DebugRuntime(path).manifest, 5)
    engine = Engine(str(path))
    answer = engine.infer(as_numpy(flat))["score"]
    wanted = answer.copy()
    del engine
    gc.collect()
    np.testing.assert_array_equal(answer, wanted)


def test_stats_say_where_the_time_went(tiny):
    engine = Engine(tiny, instances=1, pad_batches="always")
    flat = random_inputs(DebugRuntime(tiny).manifest, 5)
    for _ in range(3):
        engine.infer(as_numpy(flat))
    engine.stop()  # a batch is counted once its requests have been answered
    stats = engine.stats()
    assert stats["padded_rows"] == 3 * 3  # 5 rows run as 8
    assert stats["batch_size"]["counts"][:4] == [0, 0, 0, 3]  # above 4, at most 8
    assert stats["batch_size"]["sum"] == 15
    stages = {name: sum(stage["counts"]) for name, stage in stats["stages"].items()}
    assert set(stages.values()) == {3}
    spent = sum(stage["sum"] for stage in stats["stages"].values())
    assert 0 < spent <= stats["infer_us"]["sum"]
    for part in ("queue_us", "coalesce_us", "split_us"):
        assert sum(stats[part]["counts"]) == 3


@pytest.mark.parametrize("model", ["tiny_dlrm", "two_sources"])
def test_padding_changes_no_answer(export, model):
    path = export(model).path
    runtime = DebugRuntime(path)
    engine = Engine(str(path), instances=1, max_batch_size=20, pad_batches="always")
    requests = [random_inputs(runtime.manifest, 1 + seed % 50, seed) for seed in range(60)]
    futures = [engine.submit(as_numpy(flat)) for flat in requests]
    for flat, future in zip(requests, futures, strict=True):
        for name, wanted in runtime.run(flat).items():
            assert future.result()[name].shape == wanted.shape
            np.testing.assert_allclose(future.result()[name], wanted.numpy(), atol=2e-6, rtol=0)
    assert engine.stats()["samples"] == sum(1 + seed % 50 for seed in range(60))  # what is padded is not counted
    engine.stop()
