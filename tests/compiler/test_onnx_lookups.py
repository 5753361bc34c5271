"""Each form of lookup in ONNX, beside the operator itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zoo
from compiler.graphs import Computes, captured, draw
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from recpile.pycompiler import operators
from recpile.pycompiler.onnx.export import export_onnx
from recpile.pycompiler.operators import POOLINGS
from recpile.pycompiler.quality import eager
from recpile.pycompiler.schema import REQUEST, Dense, Input, InputSchema, Jagged, KeyedJagged

SUM, MEAN, NONE = (POOLINGS.index(one) for one in ("sum", "mean", "none"))


def difference(model: nn.Module, inputs: list[Input], flats: list[dict[str, Tensor]], folder: Path) -> float:
    """Exports the whole model and gives its largest difference from eager on `flats`."""
    done = export_onnx(model, captured(model, *inputs), folder / "model.onnx", flats, stages=False)
    assert done.problems == (), done
    return done.files[0].difference


def drawn(inputs: list[Input]) -> list[dict[str, Tensor]]:
    return [draw(InputSchema(inputs), batch, ids=5, seed=batch, longest=most) for batch in (1, 3) for most in (3, 0)]


@pytest.mark.parametrize("pooling", [SUM, MEAN])
def test_ids_of_a_fixed_shape_are_looked_up_by_columns(pooling, tmp_path):
    def forward(m, ids: Tensor) -> Tensor:
        # Of five columns: 0 and 1 in the first table, 4 in the second, 1 to 3 in the first again.
        tables = [m.a.weight, m.b.weight]
        features = [0, 0, 0], [0, 4, 1], [0, 1, 0]
        return operators.embedding_bags(tables, [ids], [None], [], *features, pooling, [5], [2, 1, 3])

    model = Computes(forward, a=nn.Embedding(6, 4), b=nn.Embedding(7, 3))
    inputs: list[Input] = [Dense("ids", (5,), torch.int64)]
    assert difference(model, inputs, drawn(inputs), tmp_path) < 1e-6


def test_fixed_and_jagged_sources_with_weights_meet_in_one_lookup(tmp_path):
    def forward(m, ids: Tensor, weights: Tensor, bag: JaggedTensor) -> Tensor:
        values, lengths = [ids, bag.values()], [None, bag.lengths()]
        features = [0, 1], [0, 0], [0, 0]
        return operators.embedding_bags(
            [m.a.weight], values, lengths, [weights, bag.weights()], *features, SUM, [2, 0], [2, 0]
        )

    model = Computes(forward, a=nn.Embedding(6, 4))
    inputs: list[Input] = [Dense("ids", (2,), torch.int64), Dense("weights", (2,)), Jagged("bag", weighted=True)]
    assert difference(model, inputs, drawn(inputs), tmp_path) < 1e-6


def test_unpooled_rows_stand_where_their_ids_stand_and_ids_of_no_table_give_zeros(tmp_path):
    def forward(m, bags: KeyedJaggedTensor) -> Tensor:
        rows = operators.embedding_bags(
            [m.a.weight, m.b.weight],
            [bags.values()],
            [bags.lengths().view(3, -1)],
            [],
            [0, 0],
            [2, 0],  # key 1 is in no table
            [0, 1],
            NONE,
        )
        sums = torch.zeros(bags.lengths().view(3, -1).shape[1], 4)
        return sums + rows.sum(0)

    model = Computes(forward, a=nn.Embedding(6, 4), b=nn.Embedding(7, 4))
    inputs: list[Input] = [KeyedJagged("bags", ["x", "y", "z"])]
    assert difference(model, inputs, drawn(inputs), tmp_path) < 1e-6


def test_bags_of_a_request_are_repeated_for_its_candidates(tmp_path):
    bags = zoo.collection(("t", 6, 4, ["x", "y"]))
    model = Computes(lambda m, history, price: m.bags(history).values().sum(1) + price, bags=bags)
    inputs: list[Input] = [KeyedJagged("history", ["x", "y"], axis=REQUEST), Dense("price")]
    flat = {
        "history.values": torch.tensor([1, 2, 3, 4, 5]),
        "history.lengths": torch.tensor([[2, 0, 1], [0, 1, 1]]),
        "price": torch.rand(4),
        "candidate_to_request": torch.tensor([2, 0, 0, 1]),
    }
    empty = {**flat, "history.values": torch.zeros(0, dtype=torch.int64), "history.lengths": torch.zeros(2, 3).long()}
    assert eager(model, InputSchema(inputs), flat)[0].shape == (4,)
    assert difference(model, inputs, [flat, empty], tmp_path) < 1e-6
