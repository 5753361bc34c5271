"""Capture: a model becomes one graph over flat tensors with a dynamic batch, and is left as it was."""

from __future__ import annotations

import pytest
import torch
import zoo
from compiler.graphs import Computes, aten, captured, draw, farthest, kjt, lookup_calls
from torch import Tensor, nn
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import build_inputs, capture
from recpile.pycompiler.quality import eager, run_stages
from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged

X = Dense("x", (3,))


@pytest.mark.proves("TorchRec", "weighted features", "graph")
@pytest.mark.proves("TorchRec", "sum pooling", "graph")
@pytest.mark.proves("TorchRec", "mean pooling", "graph")
@pytest.mark.proves("TorchRec", "KJT built inside", "graph")
@pytest.mark.proves("Plain PyTorch", "hashing", "graph")
@pytest.mark.proves("Plain PyTorch", "several outputs", "graph")
@pytest.mark.parametrize("name", ["tiny_dlrm", "two_sources", "hashed_ids", "mixed_pooling"])
@pytest.mark.proves("TorchRec", "unweighted features", "graph")
def test_a_captured_model_answers_as_eager_at_every_batch_size_and_with_no_ids(name: str) -> None:
    model, schema = getattr(zoo, name)()
    program = capture(model, schema, name)
    verify(program)
    assert farthest(model, program, ids=7) < 1e-6
    large = draw(schema, 3000, ids=7, longest=9)
    (wanted, *_), (got, *_) = eager(model, schema, large), program.graph.module(check_guards=False)(large)
    assert torch.allclose(wanted, got, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model, schema = zoo.tiny_dlrm()
    model.train()
    modules, weights = dict(model.named_modules()), {name: value.clone() for name, value in model.state_dict().items()}
    capture(model, schema, "tiny")
    assert model.training
    assert all(module is modules[name] for name, module in model.named_modules())
    assert any(isinstance(module, EmbeddingBagCollection) for module in modules.values())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(value.requires_grad for value in model.parameters())


def test_weights_are_shared_with_the_model_not_copied() -> None:
    model, schema = zoo.tiny_dlrm()
    held = {value.data_ptr() for value in capture(model, schema, "tiny").graph.state_dict.values()}
    assert held == {value.data_ptr() for value in model.parameters()}


def test_a_model_is_captured_in_eval_mode_whatever_mode_it_is_in() -> None:
    model = Computes(lambda self, x: self.drop(self.norm(x)), norm=nn.BatchNorm1d(3), drop=nn.Dropout(0.9)).train()
    program = capture(model, InputSchema([X]), "m")
    assert farthest(model.eval(), program) < 1e-6


@pytest.mark.proves("TorchRec", "EmbeddingBagCollection", "graph")
def test_a_collection_is_one_lookup_and_no_embedding_bag() -> None:
    model = Computes(
        lambda self, sparse: self.bags(sparse).values(), bags=collection(("a", 5, 4, ["f1"]), ("b", 6, 8, ["f0", "f1"]))
    )
    program = captured(model, kjt("f0", "f1"))
    (call,) = lookup_calls(program)
    assert (call.feature_row, call.feature_table) == ([1, 0, 1], [0, 1, 1])
    assert not [node for node in program.graph.graph.nodes if node.target is aten.embedding_bag.padding_idx]
    assert {fqn: (t.name, t.rows, t.dim, t.dtype, t.packed) for fqn, t in program.tables.items()} == {
        "model.bags.embedding_bags.a.weight": ("a", 5, 4, "fp32", False),
        "model.bags.embedding_bags.b.weight": ("b", 6, 8, "fp32", False),
    }


class Nested(nn.Module):
    """Collections inside a list, a dict and a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = nn.ModuleList([collection(("a", 5, 4, ["f0"])), collection(("b", 5, 4, ["f1"]))])
        self.named = nn.ModuleDict({"towers": nn.Sequential(collection(("a", 5, 4, ["f1"])))})

    def forward(self, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.cat([bags(sparse).values() for bags in (*self.listed, self.named["towers"])], dim=1)


def test_collections_are_found_inside_lists_and_dicts() -> None:
    model = Nested()
    program = captured(model, kjt("f0", "f1"))
    assert len(lookup_calls(program)) == 3
    assert farthest(model, program) == 0


def test_tables_of_one_name_are_told_apart_by_their_path() -> None:
    names = [table.name for table in captured(Nested(), kjt("f0", "f1")).tables.values()]
    assert names == ["listed.0.a", "b", "named.towers.0.a"]


@pytest.mark.proves("TorchRec", "KeyedTensor outputs", "graph")
def test_the_collections_own_keys_and_columns_are_kept() -> None:
    def forward(self, sparse: KeyedJaggedTensor) -> Tensor:
        pooled = self.bags(sparse)
        assert pooled.keys() == ["f0@a", "f0@b", "f1"]
        return torch.cat([pooled["f1"], pooled["f0@b"], pooled["f0@a"]], dim=1)

    model = Computes(forward, bags=collection(("a", 5, 4, ["f0"]), ("b", 5, 8, ["f0", "f1"])))
    assert farthest(model, captured(model, kjt("f1", "f0"))) == 0


def test_the_order_of_the_schema_is_not_the_order_of_forward() -> None:
    model = Computes(lambda self, x, ids: x.sum(dim=1) - ids.lengths())
    assert farthest(model, captured(model, Jagged("ids"), X)) == 0


@pytest.mark.parametrize(
    "function", [lambda self, x: {"b": -x, "a": x}, lambda self, x: (x, -x), lambda self, x: [x, -x]]
)
def test_outputs_come_in_the_schemas_order(function) -> None:
    flat = {"x": torch.ones(2, 3)}
    first, second = captured(Computes(function), X, outputs=("a", "b")).graph.module(check_guards=False)(flat)
    assert (float(first.sum()), float(second.sum())) == (6.0, -6.0)


@pytest.mark.proves("TorchRec", "KJT argument", "graph")
def test_a_model_gets_tensors_jagged_and_keyed_jagged_tensors() -> None:
    schema = InputSchema([X, Jagged("ids", weighted=True), kjt("f0", "f1")])
    inputs = build_inputs(schema, draw(schema, 4))
    assert [type(inputs[name]) for name in ("x", "ids", "sparse")] == [Tensor, JaggedTensor, KeyedJaggedTensor]
    assert inputs["sparse"].keys() == ["f0", "f1"]
    assert inputs["sparse"].stride() == 4
    assert len(inputs["ids"].weights()) == len(inputs["ids"].values())


class TwoNames(nn.Module):
    """One collection under two names, and a second that shares its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one = zoo.collection(("t", 20, 4, ["f0"]))
        self.two = self.one
        self.tied = zoo.collection(("t", 20, 4, ["f0"]))
        self.tied.embedding_bags["t"].weight = self.one.embedding_bags["t"].weight
        self.unused = zoo.collection(("never", 5, 4, ["f0"]))
        weight = self.one.embedding_bags["t"].weight
        assert isinstance(weight, nn.Parameter)
        self.weight = weight

    def forward(self, sparse):
        pooled = [self.one(sparse).values(), self.two(sparse).values(), self.tied(sparse).values()]
        # Weight tying: the dense part reads the table as well.
        return torch.cat(pooled, dim=1), pooled[0] @ self.weight.t()


def test_a_weight_under_several_names_is_one_table_and_one_that_is_never_called_is_none() -> None:
    torch.manual_seed(0)
    model = TwoNames().eval()
    schema = InputSchema([KeyedJagged("sparse", ["f0"])], outputs=["vectors", "all_items"])
    program = run_passes(capture(model, schema, "m"), passes(TablePrecision(), "fp32"))
    assert [table.name for table in program.tables.values()] == ["one.t"]
    flat = {"sparse.values": torch.tensor([3, 4, 19]), "sparse.lengths": torch.tensor([[1, 0, 2]])}
    for wanted, got in zip(eager(model, schema, flat), run_stages(program, flat), strict=True):
        assert (wanted - got).abs().max() < 1e-6
