"""A model with both batch axes in the C++ engine and the server: the user once, the candidates each."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import handmade
import numpy as np
import pytest
import torch
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from engines import together
from handmade import Rows, dense, keyed, lookup, output
from torch import Tensor, nn
from torch.export import Dim
from wire import PATIENCE, ask, scrape, tensors

from recpile.pycompiler.server_process import ServerProcess
from recpile.runtime_cpp import Engine

torch.manual_seed(0)
USERS, ITEMS = torch.randn(50, 4), torch.randn(31, 4)


class Shift(nn.Module):
    """Items count from 1, and rows from 0."""

    def forward(self, ids: Tensor) -> Tensor:
        return ids - 1


class Score(nn.Module):
    """The user's vector, once a request; its product with each candidate's item."""

    def forward(self, context: Tensor, user: Tensor, owner: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        vector = torch.tanh(user) + context
        return (vector[owner] * item).sum(dim=1), vector


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, requests = Dim("rows", min=2), Dim("requests", min=2)
    code = [
        handmade.code("shift", Shift(), (torch.ones(4, dtype=torch.int64),), ({0: rows},)),
        handmade.code(
            "score",
            Score(),
            (torch.ones(3, 4), torch.ones(3, 4), torch.zeros(5, dtype=torch.int64), torch.ones(5, 4)),
            ({0: requests}, {0: requests}, {0: rows}, {0: rows}),
        ),
    ]
    jagged = [{"values": "user.values", "lengths": "user.lengths"}]
    stages = [
        handmade.compiled("shift", ["item"], ["ids"]),
        lookup("users", "sum", jagged, [(0, 1, "users")]),
        lookup("items", "sum", [{"values": "shift/ids", "columns": 1}], [(0, 0, 1, "items")]),
        handmade.compiled(
            "score", ["context", "users/out", "candidate_to_request", "items/out"], ["scores", "vectors"]
        ),
    ]
    return handmade.write(
        tmp_path_factory.mktemp("ranker") / "ranker.pt2",
        [
            dense("context", ["request", 4]),
            keyed("user", ["city", "seen"], "request"),
            dense("item", ["candidate"], "int64"),
        ],
        stages,
        [output("score", "score/scores", ["candidate"]), output("vector", "score/vectors", ["request", 4])],
        {"users": Rows.of(USERS), "items": Rows.of(ITEMS)},
        code,
    )


def request(seed: int) -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    seen, candidates = seed % 4, 1 + seed % 5
    return {
        "context": torch.randn(1, 4, generator=make),
        # One city, which no table reads, and what was seen.
        "user.values": torch.cat([torch.tensor([10**6]), torch.randint(0, 50, (seen,), generator=make)]),
        "user.lengths": torch.tensor([[1], [seen]]),
        "item": torch.randint(1, 32, (candidates,), generator=make),
    }


def answer(flat: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    user = USERS[flat["user.values"][1:]].sum(dim=0, keepdim=True)
    item = ITEMS[flat["item"] - 1]
    score, vector = Score()(flat["context"], user, torch.zeros_like(flat["item"]), item)
    return score.numpy(), vector.numpy()


def as_numpy(flat: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in flat.items()}


@pytest.mark.parametrize("pad", ["never", "always"])
def test_requests_coalesce_along_both_axes_and_each_gets_its_own(ranker, pad):
    engine = Engine(str(ranker), instances=1, pad_batches=pad)
    requests = [request(seed) for seed in range(100)]
    ran = together(engine, [as_numpy(flat) for flat in requests])
    for flat, got in zip(requests, ran.answers, strict=True):
        score, vector = answer(flat)
        assert got["score"].shape == score.shape
        assert got["vector"].shape == (1, 4)
        np.testing.assert_allclose(got["score"], score, atol=1e-5)
        np.testing.assert_allclose(got["vector"], vector, atol=1e-5)
    assert (ran.batches, ran.samples) == (1, sum(len(flat["item"]) for flat in requests))
    engine.stop()


@pytest.mark.proves("Plain PyTorch", "modulo", "refusal")
@pytest.mark.proves("Plain PyTorch", "hashing", "refusal")
def test_an_id_computed_out_of_range_is_an_error_for_requests_only(ranker):
    # Loading has run item 0, which there is not: rows that nobody sent are no reason to refuse a model.
    engine = Engine(str(ranker), instances=1)
    flat = as_numpy(request(3))
    with pytest.raises(RuntimeError, match="id -1 is outside table 'items', which has ids 0 to 30"):
        engine.infer({**flat, "item": np.zeros(4, np.int64)})
    assert engine.infer(flat)["score"].shape == (4,)
    engine.stop()


def test_or_a_row_of_zeros_which_is_counted_by_the_lookup(ranker):
    engine = Engine(str(ranker), instances=1, out_of_range="zero")
    flat = as_numpy(request(3))
    assert engine.infer({**flat, "item": np.zeros(4, np.int64)})["score"].tolist() == [0, 0, 0, 0]
    assert engine.stats()["tables"]["items"] == {"lookups": 4, "out_of_range": 4}
    engine.stop()


def test_a_stage_that_throws_fails_its_own_requests_as_internal_and_no_other(ranker):
    wrong, outcomes = "stage 'items' failed: id -1 is outside table 'items'", []
    # They wait until they fill a batch, which all of them do: forty have four candidates, and twenty have two.
    options = ("--max-batch-size", "200", "--max-queue-delay-microseconds", "60000000")
    with ServerProcess(ranker, "--instances", "1", *options) as server:
        client = triton_grpc.InferenceServerClient(server.grpc_url)
        came = threading.Semaphore(0)

        def answered(index: int, result: triton_grpc.InferResult | None, error: Exception | None) -> None:
            outcomes.append((index % 3 == 0, error))
            came.release()

        for index in range(60):
            flat = as_numpy(request(3)) if index % 3 else {**as_numpy(request(3)), "item": np.zeros(2, np.int64)}
            client.async_infer("ranker", tensors(triton_grpc, flat), partial(answered, index))
        for _ in range(60):
            assert came.acquire(timeout=PATIENCE)
        with pytest.raises(triton.InferenceServerException, match=rf"\[500\] {wrong}"):
            ask(server, triton, {**as_numpy(request(3)), "item": np.zeros(200, np.int64)})
        assert client.is_model_ready("ranker")
        failed = 'recpile_inference_request_failure{model="ranker",version="1",reason="BACKEND"}'
        assert scrape(server)[failed] == 20 + 1
    for bad, error in outcomes:
        assert (error is not None) == bad
        assert not bad or (error.status() == "StatusCode.INTERNAL" and wrong in error.message())


def test_a_request_has_one_row_of_its_own(ranker):
    engine = Engine(str(ranker), instances=1)
    flat = as_numpy(request(3))
    with pytest.raises(ValueError, match=r"'context' has shape \[2, 4\]; expected \[1, 4\]: it has one row"):
        engine.infer({**flat, "context": np.zeros((2, 4), np.float32)})
    with pytest.raises(ValueError, match=r"'user.lengths' has shape \[2, 4\]; expected \[2, 1\]"):
        engine.infer({**flat, "user.lengths": np.ones((2, 4), np.int64)})
    engine.stop()


def test_clients_see_one_where_candidates_vary(ranker):
    with ServerProcess(ranker) as server:
        client = triton.InferenceServerClient(server.url)
        told = client.get_model_metadata("ranker")
        assert [(one["name"], one["shape"]) for one in told["inputs"] + told["outputs"]] == [
            ("context", [1, 4]),
            ("user.values", [-1]),
            ("user.lengths", [2, 1]),
            ("item", [-1]),
            ("score", [-1]),
            ("vector", [1, 4]),
        ]
        flat = as_numpy(request(7))
        inputs = [triton.InferInput(n, a.shape, {"f": "FP32", "i": "INT64"}[a.dtype.kind]) for n, a in flat.items()]
        for one, array in zip(inputs, flat.values(), strict=True):
            one.set_data_from_numpy(array)
        got = client.infer("ranker", inputs)
        for name, wanted in zip(("score", "vector"), answer(request(7)), strict=True):
            np.testing.assert_allclose(got.as_numpy(name), wanted, atol=1e-5)
