"""Inputs of an artifact: what is checked, what each refusal says, and random ones that pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import zoo
from torch import Tensor

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.capture import capture
from recpile.pycompiler.inputs import InputError, check_inputs
from recpile.pycompiler.random_inputs import random_inputs

Flat = dict[str, Tensor]


def manifest_of(name: str) -> dict:
    model, schema = getattr(zoo, name)()
    program = run_passes(capture(model, schema, name), passes(TablePrecision(), "fp32"))
    return build_manifest(program, "1", {}, {}, {})


@pytest.fixture(scope="module")
def two() -> dict:
    """zoo.two_sources: dense [B, 3]; sparse with keys f0, f1, f2; other, int32 and weighted, with keys f2, f0.

    f0 is looked up in a.x (58 rows) and f2 in a.x and z (66 rows), so ids of sparse's f2 end at 57.
    """
    return manifest_of("two_sources")


@pytest.fixture(scope="module")
def hashed() -> dict:
    """zoo.hashed_ids: dense price [B] and jagged ids, which the model hashes before it looks them up."""
    return manifest_of("hashed_ids")


def good() -> Flat:
    """Two candidates: sparse has bags f0 [1] [2, 3], f1 [] [4], f2 [] []; other has f2 [5] [], f0 [] [6]."""
    return {
        "dense": torch.rand(2, 3),
        "sparse.values": torch.tensor([1, 2, 3, 4]),
        "sparse.lengths": torch.tensor([[1, 2], [0, 1], [0, 0]]),
        "other.values": torch.tensor([5, 6], dtype=torch.int32),
        "other.lengths": torch.tensor([[1, 0], [0, 1]], dtype=torch.int32),
        "other.weights": torch.rand(2),
    }


def test_good_inputs_come_back_with_the_number_of_candidates(two: dict) -> None:
    flat, candidates = check_inputs(two, good())
    assert candidates == 2
    assert list(flat) == ["dense", "sparse.values", "sparse.lengths", "other.values", "other.lengths", "other.weights"]
    assert torch.equal(flat["sparse.values"], good()["sparse.values"])


def test_numpy_arrays_do_as_well_and_are_made_contiguous(two: dict) -> None:
    arrays = {name: value.numpy() for name, value in good().items()}
    arrays["dense"] = np.asfortranarray(arrays["dense"])
    flat, candidates = check_inputs(two, arrays)
    assert candidates == 2
    assert flat["dense"].is_contiguous()
    assert np.array_equal(flat["dense"].numpy(), arrays["dense"])


def without(name: str) -> Callable[[Flat], Flat]:
    return lambda flat: {other: value for other, value in flat.items() if other != name}


def with_(**values: Tensor) -> Callable[[Flat], Flat]:
    return lambda flat: {**flat, **{name.replace("__", "."): value for name, value in values.items()}}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (with_(price=torch.rand(2)), "unknown input 'price'; the model's inputs are dense, sparse.values, sparse.len"),
        (without("dense"), "input 'dense' is missing; the model's inputs are dense, sparse.values"),
        (without("other.weights"), "input 'other.weights' is missing"),
        (with_(dense=torch.rand(2, 3).double()), "input 'dense' is fp64; expected fp32"),
        (with_(other__values=torch.tensor([5, 6])), "input 'other.values' is int64; expected int32"),
        (with_(dense=torch.rand(2, 3).to(torch.complex64)), "input 'dense' is torch.complex64; expected fp32"),
        (with_(dense=torch.rand(2, 4)), r"input 'dense' has shape \[2, 4\]; expected \[-1, 3\]"),
        (with_(dense=torch.rand(6)), r"input 'dense' has shape \[6\]; expected \[-1, 3\]"),
        (with_(sparse__lengths=torch.zeros(2, 2).long()), r"'sparse.lengths' has shape \[2, 2\]; expected \[3, -1\]"),
        (with_(dense=torch.rand(3, 3)), "input 'sparse.lengths' has 2 candidates; input 'dense' has 3"),
        (
            with_(sparse__lengths=torch.tensor([[1, 2], [-1, 2], [0, 0]])),
            "'sparse.lengths' has -1 at index 2; lengths are 0",
        ),
        (with_(sparse__values=torch.tensor([1, 2, 3])), "'sparse.lengths' sums to 4, but 'sparse.values' has 3 ids"),
        (with_(sparse__values=torch.arange(5)), "'sparse.lengths' sums to 4, but 'sparse.values' has 5 ids"),
        (
            with_(sparse__lengths=torch.tensor([[2**62, 2**62], [2**62, 2**62], [4, 0]])),  # 4, run over
            "'sparse.lengths' has a bag of 4611686018427387904 ids, but 'sparse.values' has 4 ids",
        ),
        (with_(other__weights=torch.rand(3)), "'other.weights' has 3 weights, but 'other.values' has 2 ids"),
    ],
)
def test_the_first_thing_that_is_wrong_is_refused(two: dict, edit: Callable[[Flat], Flat], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_inputs(two, edit(good()))


@pytest.mark.parametrize("bad", [-1, 58, 2**40])
def test_an_id_outside_its_table_is_refused_with_its_place_key_and_table(two: dict, bad: int) -> None:
    flat = good()
    flat["sparse.values"][2] = bad
    expected = rf"'sparse.values' has id {bad} at index 2 \(key 'f0'\); table 'a.x' has ids 0 to 57"
    with pytest.raises(InputError, match=expected):
        check_inputs(two, flat)


def test_each_key_is_held_to_its_own_table(two: dict) -> None:
    flat = good()
    flat["other.values"][0] = 65  # f2 of other is looked up in z, f0 of other in c.x: both have 66 rows
    check_inputs(two, flat)
    flat["sparse.values"][3] = 54  # f1 is looked up in y, of 54 rows
    with pytest.raises(InputError, match=r"id 54 at index 3 \(key 'f1'\); table 'y' has ids 0 to 53"):
        check_inputs(two, flat)


def test_an_empty_request_is_refused(hashed: dict) -> None:
    none = {"price": torch.zeros(0), "ids.values": torch.zeros(0).long(), "ids.lengths": torch.zeros(0).long()}
    with pytest.raises(InputError, match="the request is empty: input 'price' has 0 candidates; send at least 1"):
        check_inputs(hashed, none)


def test_ids_that_the_model_hashes_have_no_range(hashed: dict) -> None:
    flat = {"price": torch.zeros(1), "ids.values": torch.tensor([2**62]), "ids.lengths": torch.tensor([1])}
    assert check_inputs(hashed, flat)[1] == 1


@pytest.mark.parametrize("candidates", [1, 2, 3, 50])
@pytest.mark.parametrize("longest", [0, 1, 6])
def test_random_inputs_pass_the_check(two: dict, hashed: dict, candidates: int, longest: int) -> None:
    for manifest in (two, hashed):
        flat = random_inputs(manifest, candidates, seed=candidates, longest_bag=longest)
        checked, rows = check_inputs(manifest, flat)
        assert rows == candidates
        assert set(checked) == {tensor["name"] for one in manifest["inputs"] for tensor in one["tensors"]}


def test_random_inputs_are_those_of_their_seed(two: dict) -> None:
    one, same, other = (random_inputs(two, 20, seed) for seed in (1, 1, 2))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["dense"], other["dense"])
    assert not torch.equal(one["sparse.lengths"], other["sparse.lengths"])


def test_random_bags_go_from_empty_to_the_longest_and_ids_over_the_whole_table(two: dict) -> None:
    flat = random_inputs(two, 500, longest_bag=4)
    assert flat["sparse.lengths"].unique().tolist() == [0, 1, 2, 3, 4]
    first = int(flat["sparse.lengths"][0].sum())
    assert flat["sparse.values"][:first].unique().tolist() == list(range(58))


def test_random_bags_of_no_ids_are_empty(two: dict) -> None:
    flat = random_inputs(two, 5, longest_bag=0)
    assert [len(flat[f"{name}.values"]) for name in ("sparse", "other")] == [0, 0]
    assert flat["sparse.lengths"].shape == (3, 5)
