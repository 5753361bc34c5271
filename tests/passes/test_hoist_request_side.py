"""HoistRequestSide: what depends on the request alone runs once a request."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, lookup_calls, reasons
from compiler.two_axes import farthest, repeats
from torch import Tensor, nn
from torch.fx import Node
from torchrec.modules.embedding_configs import EmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingCollection
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.find_lookups import FindLookups
from recpile.passes.hoist_request_side import HoistRequestSide
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.passes.remove_identities import RemoveIdentities
from recpile.pycompiler.capture import capture
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST, Dense, Input, InputSchema, Jagged, KeyedJagged

IDS = torch.int64
USER, ITEM = Dense("user", (8,), axis="request"), Dense("item", (8,))


def found(model: nn.Module, *inputs: Input) -> Program:
    return run_passes(captured(model, *inputs), [RemoveIdentities(), FindLookups()])


def hoisted(model: nn.Module, *inputs: Input) -> Program:
    result = HoistRequestSide().run(found(model, *inputs))
    verify(result.program)
    assert result.changed
    return result.program


def staged(model: nn.Module, *inputs: Input) -> Program:
    return run_passes(captured(model, *inputs), passes(TablePrecision(), "fp32"))


def axis(node: Node, program: Program) -> str:
    """The axis of a value's rows."""
    named = zip(program.graph.graph_signature.user_inputs, program.schema.graph_tensors(), strict=True)
    by_name = {one.name: one for one in program.graph.graph.nodes}
    sizes = {str(by_name[name].meta["val"].shape[-1 if ".lengths" in spec.name else 0]): spec for name, spec in named}
    spec = sizes[str(node.meta["val"].shape[0])]
    return str(spec.shape[-1 if ".lengths" in spec.name else 0])


def towers() -> nn.Module:
    def score(self, user: Tensor, item: Tensor) -> Tensor:
        return (self.user(user) * self.item(item)).sum(dim=1)

    def tower() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.LayerNorm(4))

    return Computes(score, user=tower(), item=tower())


def test_a_user_tower_runs_once_a_request() -> None:
    program = hoisted(towers(), USER, ITEM)
    assert repeats(program) == [["4"]]
    linears = [node for node in program.graph.graph.nodes if node.target is aten.linear.default]
    assert sorted(axis(node, program) for node in linears) == ["candidate", "candidate", "request", "request"]


def test_the_report_says_what_that_saves() -> None:
    (reason,) = reasons(hoisted(towers(), USER, ITEM), "HoistRequestSide", did=True).values()
    flops = 2 * 8 * 16 + 16 + 2 * 16 * 4
    assert f"at 200 candidates that saves {flops * 199:,} FLOPs ({flops} for each but the first)" in reason


def test_the_report_is_of_as_many_candidates_as_the_schema_says() -> None:
    program = capture(towers().eval(), InputSchema((USER, ITEM), candidates=11), "small")
    (reason,) = reasons(HoistRequestSide().run(program).program, "HoistRequestSide", did=True).values()
    assert f"at 11 candidates that saves {(2 * 8 * 16 + 16 + 2 * 16 * 4) * 10:,} FLOPs" in reason


@pytest.mark.proves("The passes", "request side once", "graph")
@pytest.mark.proves("Plain PyTorch", "towers", "graph")
def test_answers_are_those_of_the_model() -> None:
    model = towers()
    whole = staged(model, USER, ITEM)
    assert farthest(model, hoisted(model, USER, ITEM), whole) < 1e-6
    assert farthest(model, whole, whole) < 1e-6
    assert [stage.inputs for stage in whole.stages] == [("user", CANDIDATE_TO_REQUEST, "item")] or len(
        whole.stages
    ) == 1


def test_lookups_of_a_request_are_made_once_and_apart_from_those_of_candidates() -> None:
    def score(self, context, items) -> Tensor:
        user, item = self.user(context).values(), self.item(items).values()
        return torch.sigmoid(self.out(torch.cat([user, item], dim=1))).squeeze(1)

    model = Computes(
        score,
        user=collection(("u", 5, 4, ["f0"]), ("v", 6, 3, ["f1"])),
        item=collection(("i", 7, 4, ["g0"])),
        out=nn.Linear(11, 1),
    )
    inputs = (KeyedJagged("context", ["f0", "f1"], axis="request"), KeyedJagged("items", ["g0"]))
    program = staged(model, *inputs)
    lookups = [stage for stage in program.stages if stage.kind == "embedding"]
    assert sorted(stage.outputs[0].shape[0] for stage in lookups) == ["candidate", "request"]
    assert repeats(hoisted(model, *inputs)) == [["7"]]
    assert farthest(model, program, program) < 1e-6


@pytest.mark.proves("Plain PyTorch", "attention over a history", "graph")
def test_a_history_is_padded_and_projected_once_and_attended_by_every_candidate() -> None:
    rows = EmbeddingCollection(
        tables=[EmbeddingConfig(name="h", num_embeddings=20, embedding_dim=8, feature_names=["h"])]
    )

    def score(self, history, item) -> Tensor:
        padded = self.rows(history)["h"].to_padded_dense(5)
        keys, values = self.k(padded), self.v(padded)
        query = self.q(self.item(item)).unsqueeze(1)
        weights = torch.softmax(query @ keys.transpose(1, 2) / 8**0.5, dim=-1)
        return torch.sigmoid((weights @ values).squeeze(1).sum(dim=1))

    model = Computes(score, rows=rows, k=nn.Linear(8, 8), v=nn.Linear(8, 8), q=nn.Linear(8, 8), item=nn.Embedding(9, 8))
    inputs = (KeyedJagged("history", ["h"], axis="request"), Dense("item", dtype=IDS))
    program = hoisted(model, *inputs)
    linears = [node for node in program.graph.graph.nodes if node.target is aten.linear.default]
    assert sorted(axis(node, program) for node in linears) == ["candidate", "request", "request"]
    whole = staged(model, *inputs)
    assert farthest(model, whole, whole) < 1e-6


def test_keys_and_values_of_pytorchs_own_attention_are_projected_once() -> None:
    def score(self, history, item) -> Tensor:
        query = self.item(item).unsqueeze(1)
        return self.attention(query, history, history, need_weights=False)[0].squeeze(1).sum(dim=1)

    torch.manual_seed(0)
    model = Computes(score, attention=nn.MultiheadAttention(8, 2, batch_first=True), item=nn.Linear(8, 8))
    inputs = (Dense("history", (5, 8), axis="request"), ITEM)
    program = hoisted(model, *inputs)
    (reason,) = reasons(program, "HoistRequestSide", did=True).values()
    assert f"({2 * 5 * 8 * 16:,} for each but the first)" in reason
    assert repeats(program) == [["5", "8"], ["5", "8"]]
    whole = staged(model, *inputs)
    assert farthest(model, whole, whole) < 1e-6


def test_dense_ids_of_a_request_hashed_and_looked_up_one_by_one() -> None:
    def score(self, tags, words, item) -> Tensor:
        user = self.tags((tags * 7 + 1) % 11).sum(dim=1) + self.words(words.to_padded_dense(3) % 5).mean(dim=1)
        return (user * self.item(item)).sum(dim=1)

    model = Computes(score, tags=nn.Embedding(11, 4), words=nn.Embedding(5, 4), item=nn.Embedding(9, 4))
    inputs = (Dense("tags", (3,), IDS, axis="request"), Jagged("words", axis="request"), Dense("item", dtype=IDS))
    program = hoisted(model, *inputs)
    assert repeats(program) == [["4"]]
    assert len(lookup_calls(program)) == 3
    whole = staged(model, *inputs)
    assert farthest(model, whole, whole) < 1e-6


def test_what_mixes_requests_is_left_on_the_candidate_side() -> None:
    model = Computes(lambda self, user, item: user.flip(0).sum(dim=1) * item.sum(dim=1))
    result = HoistRequestSide().run(found(model, USER, ITEM))
    assert repeats(result.program) == [["8"]]
    (why,) = (why for name, why in reasons(result.program, "HoistRequestSide", did=False).items() if "flip" in name)
    assert "aten.flip.default 'flip' (" in why
    assert "user.flip(0)" in why
    assert "is not known to keep requests apart" in why


def test_what_is_scaled_by_the_number_of_candidates_is_left_to_them() -> None:
    model = Computes(lambda self, user, item: ((user * (user.shape[0] * 1.0)) * item).sum(dim=1))
    result = HoistRequestSide().run(found(model, USER, ITEM))
    assert not result.changed
    assert any("aten.mul.Tensor" in why for why in reasons(result.program, "HoistRequestSide", did=False).values())


@pytest.mark.proves("The passes", "request side once", "refusal")
def test_ids_of_a_request_that_are_not_looked_up_are_refused_by_line() -> None:
    model = Computes(lambda self, words, item: item + words.values().float().cumsum(0).sum())
    with pytest.raises(ValueError, match=r"cumsum.* reads ids of the request-axis input 'words.values'.*'candidate'"):
        HoistRequestSide().run(found(model, Jagged("words", axis="request"), Dense("item")))


def test_without_request_inputs_there_is_nothing_to_do() -> None:
    result = HoistRequestSide().run(found(towers(), Dense("user", (8,)), ITEM))
    assert not result.changed
    assert reasons(result.program, "HoistRequestSide", did=False) == {"inputs": "none is on the request axis"}


def test_a_second_run_changes_nothing() -> None:
    once = hoisted(towers(), USER, ITEM)
    again = HoistRequestSide().run(once)
    assert not again.changed
    assert again.program.graph is once.graph
