"""HoistRequestSide: whatever encodes a request's history runs once a request, wherever the batch lies in it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compiler.graphs import Computes, captured, reasons
from compiler.two_axes import farthest, repeats
from torch import Tensor, nn

from recpile.passes.base import run_passes
from recpile.passes.find_lookups import FindLookups
from recpile.passes.hoist_request_side import HoistRequestSide
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense

HISTORY, ITEM = Dense("history", (5, 8), axis="request"), Dense("item", (8,))


def encoder(batch_first: bool = True, **options: object) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, **options)  # type: ignore[arg-type]
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def scores(user, **parts: nn.Module) -> nn.Module:
    """A model that multiplies what `user(self, history)` makes of a history [B, 5, 8], [B, 8], with the item."""
    return Computes(lambda self, history, item: (user(self, history) * item).sum(dim=1), **parts)


class WithFirstToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.encoder = nn.Parameter(torch.randn(1, 1, 8)), encoder()

    def forward(self, history: Tensor, item: Tensor) -> Tensor:
        first = self.first.expand(item.shape[0], -1, -1)
        return (self.encoder(torch.cat([first, history], dim=1))[:, 0] * item).sum(dim=1)


def with_positions(self, history: Tensor) -> Tensor:
    at = torch.arange(history.shape[1]).unsqueeze(0).expand(history.shape[0], -1)
    return self.encoder(history + self.positions(at)).mean(dim=1)


def causal(self, history: Tensor) -> Tensor:
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), diagonal=1)
    return self.attention(history, history, history, attn_mask=mask)[0][:, -1]


def padded(self, history: Tensor) -> Tensor:
    empty = history.abs().sum(dim=2) < 3
    return self.attention(history, history, history, key_padding_mask=empty, need_weights=False)[0].mean(dim=1)


def heads_by_hand(self, history: Tensor) -> Tensor:
    q = self.q(history).view(history.shape[0], 5, 2, 4).transpose(1, 2)
    return F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(history.shape[0], 5, 8).mean(dim=1)


def by_places(self, history: Tensor) -> Tensor:
    """Place by place in one wide batch [5 * B, 8], the history first."""
    return self.layer(history.transpose(0, 1).reshape(-1, 8)).view(5, -1, 8).sum(dim=0)


ATTENTION = nn.MultiheadAttention(8, 2, batch_first=True)
MODELS: dict[str, nn.Module] = {
    "an encoder": scores(lambda self, history: self.e(history).mean(dim=1), e=encoder()),
    "an encoder with the batch second": scores(
        lambda self, history: self.e(history.transpose(0, 1)).mean(dim=0), e=encoder(batch_first=False)
    ),
    "an encoder that norms first": scores(
        lambda self, history: self.e(history)[:, -1], e=encoder(norm_first=True, activation="gelu")
    ),
    "an encoder with positions": scores(with_positions, encoder=encoder(), positions=nn.Embedding(5, 8)),
    "an encoder with a first token": WithFirstToken(),
    "causal attention": scores(causal, attention=ATTENTION),
    "attention that skips padding": scores(padded, attention=ATTENTION),
    "attention by hand": scores(heads_by_hand, q=nn.Linear(8, 8)),
    "einsum": scores(
        lambda self, history: torch.einsum(
            "blm,bmd->bld", torch.einsum("bld,bmd->blm", history, history).softmax(dim=-1), history
        ).mean(dim=1)
    ),
    "a GRU": scores(lambda self, history: self.r(history)[1][0], r=nn.GRU(8, 8, batch_first=True)),
    "a GRU of two layers, the batch second": scores(
        lambda self, history: self.r(history.transpose(0, 1))[0][-1], r=nn.GRU(8, 8, num_layers=2)
    ),
    "an LSTM both ways": scores(
        lambda self, history: self.r(history)[0][:, -1], r=nn.LSTM(8, 4, batch_first=True, bidirectional=True)
    ),
    "a cell": scores(lambda self, history: self.r(history[:, 1], self.r(history[:, 0])), r=nn.GRUCell(8, 8)),
    "a convolution": scores(
        lambda self, history: self.c(history.transpose(1, 2)).amax(dim=2), c=nn.Conv1d(8, 8, 3, padding=1)
    ),
    "batch norm": scores(
        lambda self, history: self.t(history[:, 0]), t=nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.PReLU())
    ),
    "layers place by place": scores(by_places, layer=nn.Linear(8, 8)),
    "the two largest": scores(lambda self, history: history.topk(2, dim=1)[0].sum(dim=1)),
    "a unit vector": scores(lambda self, history: F.normalize(self.w(history[:, 0]), dim=-1), w=nn.Linear(8, 8)),
    "chosen places, turned and padded": scores(
        lambda self, history: F.pad(history[:, [0, 3]].flip(1), (0, 0, 1, 0)).logsumexp(dim=1)
    ),
}


def found(model: nn.Module) -> Program:
    return run_passes(captured(model, HISTORY, ITEM), [RemoveIdentities(), RemoveNoOps(), FindLookups()])


@pytest.fixture(scope="module")
def whole() -> Program:
    """Any split program of these inputs, whose manifest says how to draw them."""
    model = scores(lambda self, history: history[:, 0])
    return run_passes(captured(model, HISTORY, ITEM), passes(TablePrecision(), "fp32"))


@pytest.mark.proves("Plain PyTorch", "transformer or recurrent layers over a history", "graph")
@pytest.mark.parametrize("what", MODELS)
def test_only_what_it_makes_of_the_history_is_repeated(what: str, whole: Program) -> None:
    model = MODELS[what]
    result = HoistRequestSide().run(found(model))
    verify(result.program)
    assert repeats(result.program) == [["8"]]
    assert farthest(model, result.program, whole) < 2e-6


@pytest.mark.parametrize("what", ["an encoder with a first token", "a GRU of two layers, the batch second"])
def test_it_stays_so_through_all_passes_and_in_a_second_run(what: str) -> None:
    model = MODELS[what]
    assert not HoistRequestSide().run(HoistRequestSide().run(found(model)).program).changed
    staged = run_passes(captured(model, HISTORY, ITEM), passes(TablePrecision(), "fp32"))
    assert repeats(staged) == [["8"]]
    assert farthest(model, staged, staged) < 2e-6


def test_the_products_of_attention_and_of_recurrent_layers_are_counted() -> None:
    def saved(model: nn.Module) -> str:
        (reason,) = reasons(HoistRequestSide().run(found(model)).program, "HoistRequestSide", did=True).values()
        return reason

    attention = 5 * 2 * 8 * 8 + 2 * 2 * 5 * 5 * 8  # one projection; queries by keys, weights by values
    assert f"({attention:,} for each but the first)" in saved(MODELS["attention by hand"])
    gates = 5 * 2 * 2 * 8 * 24
    assert f"({gates:,} for each but the first)" in saved(MODELS["a GRU"])


@pytest.mark.proves("Plain PyTorch", "transformer or recurrent layers over a history", "refusal")
def test_an_encoder_over_the_wrong_axis_mixes_requests_and_is_named() -> None:
    model = scores(lambda self, history: self.e(history).mean(dim=1), e=encoder(batch_first=False))
    result = HoistRequestSide().run(found(model))
    assert ["8"] not in repeats(result.program)
    why = reasons(result.program, "HoistRequestSide", did=False)["scaled_dot_product_attention"]
    assert "is not known to keep requests apart: it runs for every candidate" in why
    assert "self.e(history)" in why
