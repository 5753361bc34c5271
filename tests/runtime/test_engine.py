"""The C++ engine against the Python debug runtime and eager, on the same artifacts."""

from __future__ import annotations

import gc
from concurrent.futures import wait

import numpy as np
import pytest
import torch
import zoo
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.inputs import InputError
from recpile.pycompiler.quality import EvalData, ParityError, eager
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
    runtime, engine = DebugRuntime(path), Engine(str(path))
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
    futures = [engine.submit(as_numpy(flat)) for flat in requests]
    wait(futures)
    for flat, future in zip(requests, futures, strict=True):
        for name, wanted in runtime.run(flat).items():
            # Another batch size may take another matrix kernel, which rounds differently; a wrong row is far off.
            np.testing.assert_allclose(future.result()[name], wanted.numpy(), atol=2e-6, rtol=0)
    stats = engine.stats()
    assert stats["requests_ok"] == 200
    assert stats["batches"] < 200
    assert stats["samples"] == sum(1 + seed % 7 for seed in range(200))
    engine.stop()


@pytest.mark.parametrize("model", ["tiny_dlrm", "two_sources"])
def test_a_request_larger_than_the_largest_batch_is_cut_and_answered_whole(export, model):
    path = export(model).path
    runtime, engine = DebugRuntime(path), Engine(str(path), max_batch_size=8)
    flat = random_inputs(runtime.manifest, 100)
    answer = engine.infer(as_numpy(flat))
    for name, wanted in runtime.run(flat).items():
        assert answer[name].shape == wanted.shape
        np.testing.assert_allclose(answer[name], wanted.numpy(), atol=2e-6, rtol=0)
    stats = engine.stats()
    assert (stats["requests_ok"], stats["batches"], stats["samples"]) == (1, 13, 100)
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
    engine = Engine(str(path), instances=1, max_queue_size=1, max_queue_delay_microseconds=200_000)
    flat = as_numpy(random_inputs(DebugRuntime(path).manifest, 1))
    waiting = engine.submit(flat)  # for company, until its delay is over
    with pytest.raises(RuntimeError, match="queue is full: 1 requests wait"):
        engine.submit(flat)
    waiting.result()
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


class ShiftedIds(zoo.HashedIds):
    """Computes ids that no request check can know: one less than what is sent."""

    def forward(self, price, ids):
        shifted = KeyedJaggedTensor(keys=["h"], values=ids.values() - 1, lengths=ids.lengths())
        return torch.sigmoid(self.out(torch.cat([self.bags(shifted).values(), price.unsqueeze(1)], dim=1))).squeeze(1)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """An artifact of ShiftedIds, and four rows that it takes."""
    _, schema = zoo.hashed_ids()
    model, path = ShiftedIds().eval(), tmp_path_factory.mktemp("shifted") / "shifted.pt2"
    with pytest.raises(ParityError, match="could not be checked on random inputs"):
        compile_model(model, schema, path, CompileOptions("shifted"))

    rows = {
        "price": np.ones(4, np.float32),
        "ids.values": np.array([1, 2, 31, 5]),
        "ids.lengths": np.array([1, 0, 2, 1]),
    }
    data = EvalData("four rows", rows, np.array([0, 1, 1, 0]))
    compile_model(model, schema, path, CompileOptions("shifted", eval_data=data))
    return path, rows


def test_an_id_computed_out_of_range_fails_its_own_request_and_no_other(shifted):
    path, rows = shifted
    engine = Engine(str(path), instances=1)
    # Sent together, they coalesce; the bad one must not take the others with it.
    bad = {**rows, "ids.values": np.array([1, 0, 31, 5])}
    futures = [engine.submit(bad if i % 3 == 1 else rows) for i in range(30)]
    for i, future in enumerate(futures):
        if i % 3 == 1:
            assert "id -1 is outside table 'h', which has ids 0 to 30" in str(future.exception())
        else:
            np.testing.assert_allclose(future.result()["score"], futures[0].result()["score"], atol=1e-6)
    engine.stop()


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


def test_a_piece_that_fails_fails_the_whole_request_once(shifted):
    path, rows = shifted
    engine = Engine(str(path), instances=2, max_batch_size=1)
    bad = {**rows, "ids.values": np.array([1, 2, 31, 0])}
    with pytest.raises(RuntimeError, match="id -1 is outside table 'h'"):
        engine.infer(bad)
    assert engine.infer(rows)["score"].shape == (4,)
    stats = engine.stats()
    assert (stats["requests_ok"], stats["requests_failed"]) == (1, 1)
    engine.stop()


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
    engine, runtime = Engine(str(tiny)), DebugRuntime(tiny)
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
