"""What a served model must not do is refused: draw at random, write into what requests share, mix them in a norm."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compiler.graphs import Computes, captured, farthest
from torch import nn

from recpile.pycompiler.schema import Dense
from recpile.pycompiler.swap import CaptureError

X = Dense("x", (3,))


@torch.library.custom_op("recpile_tests::thrice", mutates_args=())
def thrice(x: torch.Tensor) -> torch.Tensor:
    return x * 3


@thrice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def writes_into_its_input(self, x):
    x[:, 0] = 1
    return x.sum(1)


def counts_its_calls(self, x):
    self.norm.num_batches_tracked += 1
    return self.norm(x)


def helper(x):
    return F.dropout(x)


def drops_always(self, x):
    return helper(x)


def draws_noise(self, x):
    return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (writes_into_its_input, r"changes its input 'x' when it runs \(.*: x\[:, 0\] = 1\).*x.clone\(\)"),
        (counts_its_calls, r"changes its buffer 'norm.num_batches_tracked'.*tracked \+= 1\).*under self.training"),
        (drops_always, r"aten.native_dropout.default .*: return F.dropout\(x\)\) draws random.*training=self.training"),
        (draws_noise, r"aten.rand_like.default .*: return x \+ torch.rand_like\(x\)\) draws random numbers"),
    ],
)
@pytest.mark.proves("Plain PyTorch", "training-only dropout", "refusal")
def test_what_a_served_model_must_not_do_is_refused_by_name(function, message) -> None:
    with pytest.raises(CaptureError, match=message):
        captured(Computes(function, norm=nn.BatchNorm1d(3)), X)


def noise():
    return np.random.rand()


def helped_by_numpy(self, x):
    y = x * 2
    return y + noise()


def chosen_by_python(self, x):
    return x * 2 if random.random() > 0.5 else x


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (helped_by_numpy, r"at np.random.rand\(…\): .*: return np.random.rand\(\)"),
        (chosen_by_python, r"at random.random\(…\): .*: return x \* 2 if random.random\(\) > 0.5 else x"),
    ],
)
def test_random_numbers_of_python_and_numpy_are_refused_with_the_line_that_draws_them(function, line) -> None:
    with pytest.raises(CaptureError, match=rf"(?s)draws random numbers .*\n  {line}\n.*under self.training only"):
        captured(Computes(function), X)


@pytest.mark.proves("Plain PyTorch", "training-only dropout", "graph")
def test_dropout_and_attention_in_eval_mode_draw_nothing() -> None:
    def forward(self, x):
        x = F.dropout(self.drop(x), training=self.training).reshape(-1, 1, 1, 3)
        return F.scaled_dot_product_attention(x, x, x).reshape(-1, 3)

    model = Computes(forward, drop=nn.Dropout(0.5))
    assert farthest(model, captured(model, X)) < 1e-6


@pytest.mark.proves("Plain PyTorch", "max_norm", "graph")
@pytest.mark.proves("Plain PyTorch", "max_norm", "refusal")
@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_max_norm_is_refused_by_name_and_the_way_out_keeps_the_answers(layer) -> None:
    torch.manual_seed(0)
    table = layer(9, 4, max_norm=1.0)
    model = Computes(lambda self, ids: self.towers["user"](ids), towers=nn.ModuleDict({"user": table}))
    ids = Dense("ids", (2,), torch.int64)
    with pytest.raises(
        CaptureError, match=rf"'towers.user' is an {layer.__name__} with max_norm=1 .*embedding_renorm_"
    ):
        captured(model, ids)
    wanted = model(ids=torch.tensor([[0, 3], [8, 1]])).detach().clone()
    with torch.no_grad():
        table.weight.renorm_(2, 0, 1)
    table.max_norm = None
    assert torch.allclose(model(ids=torch.tensor([[0, 3], [8, 1]])), wanted, atol=1e-6)
    assert farthest(model, captured(model, ids)) < 1e-6


def test_max_norm_of_a_function_is_refused_with_its_line() -> None:
    def forward(self, ids):
        return F.embedding(ids, self.table.weight, max_norm=0.5)

    model = Computes(forward, table=nn.Embedding(9, 4))
    with pytest.raises(CaptureError, match=r"aten.embedding_renorm.* F.embedding\(ids.*\): max_norm rewrites rows"):
        captured(model, Dense("ids", (), torch.int64))


def test_an_operator_that_the_server_has_not_is_refused_with_its_line() -> None:
    model = Computes(lambda self, x: torch.ops.recpile_tests.thrice(x))
    with pytest.raises(CaptureError, match=r"thrice.default .*thrice\(x\).* is an operator of your own.* PyTorch's"):
        captured(model, X)


def test_a_batch_norm_by_the_statistics_of_its_batch_is_refused() -> None:
    model = Computes(lambda self, x: self.norm(x), norm=nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(CaptureError, match=r"batch_norm.*self.norm\(x\).*: .*track_running_stats=True, or use"):
        captured(model, X)


def test_an_instance_norm_by_the_statistics_of_its_row_is_none_of_these() -> None:
    model = Computes(lambda self, x: self.norm(x.unsqueeze(1)).squeeze(1), norm=nn.InstanceNorm1d(1))
    assert farthest(model, captured(model, X)) < 1e-5
