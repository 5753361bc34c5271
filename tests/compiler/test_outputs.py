"""Outputs by name: what the schema does not name (a loss, an auxiliary head) is dropped, and its weights with it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from compiler.graphs import Computes, captured, farthest
from rich.console import Console
from torch import Tensor, nn
from torchrec.inference.modules import quantize_inference_model
from zoo import collection

from recpile.pycompiler.capture import capture
from recpile.pycompiler.cli.explain import print_left_out
from recpile.pycompiler.outputs import drop_outputs, left_out, named_outputs
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged, SchemaError
from recpile.pycompiler.unused_weights import unused_weights

X = Dense("x", (3,))
LOSS, SCORE = torch.tensor(0.5), torch.tensor([1.0, 2.0])


class Pair(NamedTuple):
    loss: Tensor | None
    score: Tensor


@dataclass
class Prediction:
    loss: Tensor | None
    score: Tensor


def schema(*outputs: str, returns: tuple[str, ...] = ()) -> InputSchema:
    return InputSchema([X], outputs, returns)


@pytest.mark.parametrize(
    "got",
    [{"loss": None, "score": SCORE}, Pair(None, SCORE), Prediction(None, SCORE)],
    ids=lambda got: type(got).__name__,
)
def test_of_named_parts_those_that_the_schema_names_are_kept(got: object) -> None:
    assert named_outputs(got, schema("score")) == (SCORE,)


def test_of_a_tuple_those_kept_are_known_by_their_position_among_all() -> None:
    assert named_outputs((LOSS, SCORE), schema("score", returns=("loss", "score"))) == (SCORE,)
    assert named_outputs([LOSS, SCORE], schema("b", "a", returns=("a", "b"))) == (SCORE, LOSS)
    assert named_outputs((LOSS, SCORE), schema("a", "b")) == (LOSS, SCORE)


def test_a_named_tuple_may_be_named_otherwise_by_position() -> None:
    assert named_outputs(Pair(LOSS, SCORE), schema("a", "b")) == (LOSS, SCORE)


@pytest.mark.parametrize(
    ("got", "names", "message"),
    [
        ({"loss": LOSS}, ("score",), r"the model returns outputs \['loss'\]; the schema names \['score'\]"),
        (
            (LOSS, SCORE),
            ("score",),
            r"returns 2 outputs; the schema names 1: \['score'\]. To drop some, name all of them",
        ),
        (3, ("score",), "the model returns a int; return a tensor, a tuple of tensors or a dict"),
        ({"score": None}, ("score",), "returns a NoneType for output 'score'; every output is a tensor: leave it out"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(got: object, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        named_outputs(got, schema(*names))


def test_outputs_are_dropped_by_name() -> None:
    assert drop_outputs(schema("loss", "score"), ["loss"]) == schema("score", returns=("loss", "score"))
    assert drop_outputs(schema("score", returns=("loss", "score")), ["loss"]).outputs == ("score",)
    with pytest.raises(
        SchemaError, match=r"--drop-output: got \['los'\]; the schema's outputs are \['loss', 'score'\]"
    ):
        drop_outputs(schema("loss", "score"), ["los"])
    with pytest.raises(SchemaError, match=r"--drop-output: \['score'\] are all outputs; keep at least one"):
        drop_outputs(schema("score"), ["score"])


@pytest.mark.parametrize(
    ("got", "kept", "left"),
    [
        ({"loss": LOSS, "score": SCORE, "hint": None}, schema("score"), ("loss",)),
        (Prediction(LOSS, SCORE), schema("score"), ("loss",)),
        (Pair(None, SCORE), schema("score"), ()),
        ({"score": SCORE}, schema("score"), ()),
        ((LOSS, SCORE), schema("score", returns=("loss", "score")), ("loss",)),
        ((LOSS, SCORE), schema("a", "b"), ()),
        (SCORE, schema("score"), ()),
    ],
)
def test_what_the_outputs_do_not_name_is_told(got: object, kept: InputSchema, left: tuple[str, ...]) -> None:
    assert left_out(got, kept) == left


@pytest.mark.proves("Checkpoints", "training-only outputs: losses, auxiliary heads", "refusal")
@pytest.mark.parametrize(
    ("outputs", "returns", "message"),
    [
        (("score",), ("loss",), r"outputs \['score'\] are not all among returns \['loss'\]"),
        (("a",), ("a", "a"), r"got returns \('a', 'a'\); use the names of what forward returns, each once"),
        (("a",), "ab", "got returns 'ab'"),
    ],
)
def test_a_schema_whose_returns_do_not_fit_is_refused(outputs: tuple, returns: tuple, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        InputSchema([X], outputs, returns)


class Trains(nn.Module):
    """As in training: a loss by its own head, and the score; a table that only the loss reads."""

    def __init__(self) -> None:
        super().__init__()
        self.bags, self.aux_bags = collection(("item", 5, 3, ["f"])), collection(("aux", 5, 3, ["f"]))
        self.norm, self.head, self.aux = nn.BatchNorm1d(3), nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x: Tensor, sparse, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden = self.norm(x + self.bags(sparse).values())
        score = self.head(hidden).squeeze(1)
        aux = self.aux(hidden + self.aux_bags(sparse).values())
        return ((aux.squeeze(1) - score) ** 2).mean(), score


INPUTS = [X, KeyedJagged("sparse", ["f"])]
KEEPS_SCORE = InputSchema(INPUTS, ["score"], ["loss", "score"])


@pytest.mark.proves("Checkpoints", "training-only outputs: losses, auxiliary heads", "graph")
def test_a_dropped_loss_leaves_the_graph_with_its_head() -> None:
    model = Trains().eval()
    program = capture(model, KEEPS_SCORE, "m")
    assert farthest(model, program) < 1e-6
    assert not [node for node in program.graph.graph.nodes if node.target is torch.ops.aten.mean.default]
    assert [table.name for table in program.tables.values()] == ["item"]
    assert program.left_out == ("loss",)


def test_an_export_says_which_outputs_it_left_out() -> None:
    model = Computes(lambda self, x: {"score": x.sum(1), "aux": x * 2, "loss": None})
    console = Console(record=True, file=io.StringIO())
    print_left_out(console, captured(model, X))
    assert console.export_text().startswith("left out: the model also returns 'aux'; the schema's outputs name 'score'")
    print_left_out(console, captured(model, X, outputs=("score", "aux")))
    assert console.export_text() == ""


def test_the_weights_that_only_dropped_outputs_read_are_unused() -> None:
    expected = {"aux_bags.embedding_bags.aux.weight", "aux.weight", "aux.bias", "norm.num_batches_tracked"}
    assert unused_weights(Trains().eval(), KEEPS_SCORE) == expected


def test_a_weight_that_is_used_under_another_name_is_used() -> None:
    model = Computes(lambda self, x: self.second(x), first=nn.Linear(3, 3), second=nn.Linear(3, 3)).eval()
    model.get_submodule("first").weight = model.get_parameter("second.weight")
    assert unused_weights(model, schema("score")) == {"first.bias"}


def test_a_dict_keeps_working_whole() -> None:
    model = Computes(lambda self, x: {"b": x * 2, "a": x + 1})
    program = captured(model, X, outputs=("a", "b"))
    assert farthest(model, program) == 0


def test_what_a_quantized_collection_is_made_of_is_used() -> None:
    model = quantize_inference_model(
        Computes(lambda self, s: self.bags(s).values(), bags=collection(("t", 5, 4, ["f"])))
    )
    assert unused_weights(model, InputSchema([KeyedJagged("s", ["f"])])) == set()
