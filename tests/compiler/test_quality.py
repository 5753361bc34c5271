"""How far a compiled model is from its original: rows taken from labelled data, differences, AUC and entropy."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from compiler.graphs import draw
from torch import Tensor, nn, tensor

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.differences import FP32_TOLERANCE
from recpile.pycompiler.metrics import auc, log_loss, normalized_entropy
from recpile.pycompiler.quality import (
    EvalData,
    Parity,
    ParityError,
    check_rows_are_independent,
    compare,
    eager,
    join_rows,
    measure_quality,
    take_rows,
)
from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged

SCHEMA = InputSchema([Dense("x", (2,)), Jagged("ids", weighted=True), KeyedJagged("sparse", ["a", "b"])])
NAN = float("nan")


def rows_of(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Flat inputs of SCHEMA, every id different, so that one in the wrong place shows."""
    make = np.random.default_rng(seed)
    ids, sparse = make.integers(0, 4, count), make.integers(0, 4, (2, count))
    return {
        "x": make.random((count, 2), dtype=np.float32),
        "ids.values": np.arange(ids.sum()),
        "ids.lengths": ids,
        "ids.weights": make.random(ids.sum(), dtype=np.float32),
        "sparse.values": np.arange(sparse.sum()) + 1000,
        "sparse.lengths": sparse,
    }


def bags(values: np.ndarray, lengths: np.ndarray) -> list[list]:
    """Flat values -> one list a bag, key by key."""
    ends = [0, *np.cumsum(lengths.reshape(-1)).tolist()]
    return [np.asarray(values)[a:b].tolist() for a, b in pairwise(ends)]


@pytest.mark.parametrize(("start", "end"), [(0, 9), (0, 1), (8, 9), (2, 7), (4, 4)])
def test_the_rows_taken_are_those_rows_bag_by_bag(start: int, end: int) -> None:
    whole = rows_of(9)
    part = {name: value.numpy() for name, value in take_rows(SCHEMA, whole, start, end).items()}
    assert list(part) == [spec.name for spec in SCHEMA.tensors()]
    assert np.array_equal(part["x"], whole["x"][start:end])
    for name in ("ids.values", "ids.weights"):
        assert bags(part[name], part["ids.lengths"]) == bags(whole[name], whole["ids.lengths"])[start:end]
    wanted = bags(whole["sparse.values"], whole["sparse.lengths"])
    taken = bags(part["sparse.values"], part["sparse.lengths"])
    assert taken == wanted[start:end] + wanted[9 + start : 9 + end]
    assert part["sparse.lengths"].shape == (2, end - start)


def test_rows_taken_are_not_views_that_change_the_data() -> None:
    whole = rows_of(5)
    before = whole["sparse.values"].copy()
    take_rows(SCHEMA, whole, 1, 3)["sparse.values"].zero_()
    assert np.array_equal(whole["sparse.values"], before)


def test_batches_cover_every_row_once_in_order() -> None:
    whole = rows_of(10)
    data = EvalData("d", whole, np.zeros(10))
    batches = list(data.batches(SCHEMA, rows=4))
    assert [len(batch["x"]) for batch in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([batch["ids.values"] for batch in batches]), torch.from_numpy(whole["ids.values"]))


def test_eval_data_is_an_npz_of_flat_inputs_and_labels(tmp_path: Path) -> None:
    whole = rows_of(4)
    np.savez(tmp_path / "rows.npz", allow_pickle=False, **whole, labels=np.array([0, 1, 1, 0]))
    data = EvalData.load(tmp_path / "rows.npz")
    assert data.name == "rows.npz"
    assert set(data.inputs) == set(whole)
    assert data.labels.tolist() == [0, 1, 1, 0]


def test_eval_data_without_labels_is_refused_with_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros(2), click=np.zeros(2))
    with pytest.raises(ValueError, match=r"rows.npz has arrays x, click; it needs one called 'labels'"):
        EvalData.load(tmp_path / "rows.npz")


def test_eval_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        EvalData.load(tmp_path / "none.npz")


def test_pickled_objects_in_eval_data_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", labels=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        EvalData.load(tmp_path / "rows.npz")


def test_parity_is_the_largest_and_mean_difference_over_all_outputs() -> None:
    assert compare([tensor([1.0, 2.0]), tensor([[5.0]])], [tensor([1.0, 2.5]), tensor([[4.0]])]) == Parity(1.0, 0.5)
    assert compare([tensor([3])], [tensor([1])]) == Parity(2.0, 2.0)


def test_small_differences_of_large_values_are_not_lost() -> None:
    assert compare([tensor([1e8])], [tensor([1e8 + 8])]).max == 8.0
    assert compare([tensor([0.5])], [tensor([0.5]).double() + 1e-12]).max == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [([0.5, 0.5], [0.5, NAN]), ([NAN, 0.5], [0.5, 0.5]), ([NAN], [NAN]), ([float("inf")], [float("inf")])],
)
def test_nan_never_passes_for_equal(wanted: list[float], got: list[float]) -> None:
    parity = compare([tensor(wanted)], [tensor(got)])
    assert not parity.max <= FP32_TOLERANCE
    assert not parity.mean <= FP32_TOLERANCE


def test_another_number_of_outputs_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare([tensor([1.0])], [])


@pytest.fixture(scope="module")
def rated() -> tuple[torch.nn.Module, InputSchema, EvalData]:
    """zoo.hashed_ids on 60 rows whose labels follow its own scores, with some noise."""
    model, schema = zoo.hashed_ids()
    make = np.random.default_rng(0)
    lengths = make.integers(0, 4, 60)
    inputs = {
        "price": make.normal(size=60).astype(np.float32),
        "ids.values": make.integers(0, 10**6, lengths.sum()),
        "ids.lengths": lengths,
    }
    (scores,) = eager(model, schema, {name: torch.from_numpy(value) for name, value in inputs.items()})
    return model, schema, EvalData("rows", inputs, (scores.numpy() > make.random(60)).astype(np.int64))


def scores_of(rated: tuple[torch.nn.Module, InputSchema, EvalData]) -> Tensor:
    model, schema, data = rated
    return eager(model, schema, {name: torch.from_numpy(value) for name, value in data.inputs.items()})[0]


def test_quality_is_measured_before_and_after(rated) -> None:
    model, schema, data = rated
    program = run_passes(capture(model, schema, "m"), passes(TablePrecision("int8"), "fp32"))
    quality = measure_quality(model, program, data)
    wanted = scores_of(rated).numpy()
    assert (quality["data"], quality["samples"]) == ("rows", 60)
    assert quality["eager"] == {
        "auc": pytest.approx(auc(data.labels, wanted)),
        "normalized_entropy": pytest.approx(normalized_entropy(data.labels, wanted)),
    }
    assert quality["artifact"]["auc"] == pytest.approx(quality["eager"]["auc"], abs=0.05)
    assert 0 < quality["mean_difference"] < quality["max_difference"] < 0.01


def test_the_quality_of_fp32_stages_is_the_models(rated) -> None:
    model, schema, data = rated
    program = run_passes(capture(model, schema, "m"), passes(TablePrecision(), "fp32"))
    quality = measure_quality(model, program, data)
    assert quality["artifact"]["auc"] == quality["eager"]["auc"]
    assert quality["max_difference"] < 1e-6


def test_entropy_is_normalized_by_that_of_the_base_rate() -> None:
    labels = np.array([1, 0, 0, 0])
    assert normalized_entropy(labels, np.full(4, 0.25)) == pytest.approx(1.0)
    assert normalized_entropy(labels, np.array([0.9, 0.1, 0.1, 0.1])) == pytest.approx(-np.log(0.9) / 0.5623351446)
    assert log_loss(labels, np.full(4, 0.5)) == pytest.approx(np.log(2))
    assert auc(labels, np.array([0.3, 0.4, 0.2, 0.1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_label_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=f"normalized entropy needs both labels; got a base rate of {label}"):
        normalized_entropy(np.full(3, label), np.full(3, 0.5))


def test_joined_parts_are_what_a_client_would_send_in_one_request() -> None:
    schema = InputSchema([Dense("x"), KeyedJagged("s", ["a", "b"], weighted=True)])
    first = {
        "x": torch.tensor([1.0]),
        "s.values": torch.tensor([10, 11, 20]),
        "s.lengths": torch.tensor([[2], [1]]),
        "s.weights": torch.tensor([0.1, 0.2, 0.3]),
    }
    second = {
        "x": torch.tensor([2.0, 3.0]),
        "s.values": torch.tensor([12, 21, 22]),
        "s.lengths": torch.tensor([[0, 1], [2, 0]]),
        "s.weights": torch.tensor([0.4, 0.5, 0.6]),
    }
    joined = join_rows(schema, [first, second])
    assert joined["x"].tolist() == [1, 2, 3]
    assert joined["s.lengths"].tolist() == [[2, 0, 1], [1, 2, 0]]
    assert joined["s.values"].tolist() == [10, 11, 12, 20, 21, 22]
    assert joined["s.weights"].tolist() == pytest.approx([0.1, 0.2, 0.4, 0.3, 0.5, 0.6])


@pytest.mark.parametrize(
    "score",
    [
        lambda x: x / x.shape[0],
        lambda x: torch.softmax(x, dim=0),
        lambda x: x - x.mean(),
        lambda x: x + torch.arange(x.shape[0]),
    ],
    ids=["batch size", "softmax over the batch", "mean over the batch", "position in the batch"],
)
def test_a_model_whose_rows_depend_on_each_other_is_refused(score) -> None:
    class Model(nn.Module):
        def forward(self, x):
            return score(x)

    parts = [{"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([3.0])}]
    with pytest.raises(ParityError, match="output 'score' of a candidate depends on the other candidates"):
        check_rows_are_independent(Model(), InputSchema([Dense("x")]), parts)


def test_a_model_whose_rows_stand_alone_is_not() -> None:
    model, schema = zoo.tiny_dlrm()
    parts = [draw(schema, 3, seed=1), draw(schema, 1, seed=2), draw(schema, 5, seed=3, longest=0)]
    check_rows_are_independent(model, schema, parts)
