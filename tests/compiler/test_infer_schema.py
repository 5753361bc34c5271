"""Schemas from example inputs: kinds, types and sizes, the batch axis, the outputs, and a message for each."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, draw
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor
from zoo import hashed_ids, tiny_dlrm, two_sources

from recpile.pycompiler.capture import build_inputs
from recpile.pycompiler.infer.schema import infer_schema
from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged, SchemaError


class Takes(nn.Module):
    """Two inputs; `label` is for training."""

    def forward(self, x: Tensor, y: Tensor, label: Tensor | None = None) -> Tensor:
        return x.sum(1) + y


def kjt(keys: list[str], rows: int, weighted: bool = False) -> KeyedJaggedTensor:
    lengths = torch.ones(len(keys) * rows, dtype=torch.int64)
    values = torch.zeros(len(lengths), dtype=torch.int64)
    return KeyedJaggedTensor(keys=keys, values=values, lengths=lengths, weights=values.float() if weighted else None)


@pytest.mark.parametrize("make", [tiny_dlrm, two_sources, hashed_ids])
def test_the_schema_that_was_written_by_hand_is_inferred(make) -> None:
    model, schema = make()
    examples = [build_inputs(schema, draw(schema, batch)) for batch in (3, 5)]
    inferred, _ = infer_schema(model, examples)
    assert inferred == schema


@pytest.mark.proves("Input schema", "inferred from examples", "graph")
def test_what_was_inferred_is_said() -> None:
    _, messages = infer_schema(Takes(), (torch.ones(4, 3), torch.ones(4)))
    assert messages == [
        "axis 0 of every input is the batch: 4 rows; all inputs agree on it, but only examples of two batch sizes "
        "would show it",
        "input 'x': dense fp32 [B, 3]",
        "input 'y': dense fp32 [B]",
        "parameters left to their defaults: label",
        "outputs: score",
    ]


def test_two_examples_of_different_batch_show_the_axis() -> None:
    _, messages = infer_schema(Takes(), [(torch.ones(n, 3), torch.ones(n)) for n in (4, 7)])
    assert messages[0] == "axis 0 of every input is the batch: 4 and 7 rows, as it differs between the examples"


def test_inputs_may_be_given_by_name_by_position_or_alone() -> None:
    by_name, _ = infer_schema(Takes(), {"y": torch.ones(2), "x": torch.ones(2, 3)})
    by_position, _ = infer_schema(Takes(), (torch.ones(2, 3), torch.ones(2), None))
    assert by_name == by_position == InputSchema([Dense("x", (3,)), Dense("y")])
    alone, _ = infer_schema(nn.Linear(3, 1), torch.ones(2, 3))
    assert alone == InputSchema([Dense("input", (3,))])


def test_types_weights_and_keys_come_from_the_values() -> None:
    ids = JaggedTensor(values=torch.zeros(3, dtype=torch.int32), lengths=torch.tensor([1, 2], dtype=torch.int32))
    model = Computes(lambda self, ids, s, flag: flag.float())
    flag = torch.ones(2, dtype=torch.bool)
    inferred, messages = infer_schema(model, {"ids": ids, "s": kjt(["a", "b"], 2, weighted=True), "flag": flag})
    assert inferred.inputs == (
        Jagged("ids", torch.int32, torch.int32),
        KeyedJagged("s", ["a", "b"], weighted=True),
        Dense("flag", (), torch.bool),
    )
    assert "input 's': keyed jagged with keys a, b, int64 ids, int64 lengths, weighted" in messages


@pytest.mark.parametrize(
    ("returned", "outputs", "returns"),
    [
        (lambda x: {"b": x, "a": x}, ("b", "a"), ()),
        (lambda x: (x, x), ("output_0", "output_1"), ()),
        (lambda x: {"loss": x.mean(), "score": x}, ("score",), ("loss", "score")),
        (lambda x: (None, x), ("output_1",), ("output_0", "output_1")),
        (lambda x: {"score": x, "table": torch.ones(7)}, ("score",), ("score", "table")),
        (lambda x: {"score": x, "parts": [x]}, ("score",), ("score", "parts")),
    ],
)
def test_outputs_are_named_from_a_run_and_what_is_not_one_row_each_is_left_out(returned, outputs, returns) -> None:
    inferred, messages = infer_schema(Computes(lambda self, x: returned(x)), {"x": torch.ones(4)})
    assert (inferred.outputs, inferred.returns) == (outputs, returns)
    assert sum("is left out: " in message for message in messages) == len(set(returns) - set(outputs))


def test_an_output_that_has_as_many_rows_by_chance_is_found_out_by_a_second_example() -> None:
    model = Computes(lambda self, x: {"score": x, "table": torch.ones(4)})
    assert infer_schema(model, [{"x": torch.ones(4)}])[0].outputs == ("score", "table")
    assert infer_schema(model, [{"x": torch.ones(4)}, {"x": torch.ones(5)}])[0].outputs == ("score",)


def test_the_model_runs_in_eval_mode_and_stays_as_it_was() -> None:
    model = Computes(lambda self, x: self.norm(x), norm=nn.BatchNorm1d(2), fixed=nn.BatchNorm1d(2).eval())
    infer_schema(model, {"x": torch.ones(3, 2)})
    assert (model.training, model.get_submodule("norm").training, model.get_submodule("fixed").training) == (
        True,
        True,
        False,
    )
    assert model.get_buffer("norm.running_mean").tolist() == [0, 0]


@pytest.mark.proves("Input schema", "inferred from examples", "refusal")
@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "got no example inputs; give what forward takes"),
        ((torch.ones(2, 3),), r"do not fit Takes.forward\(.*\).*: missing a required argument: 'y' .a tuple holds"),
        ({"x": torch.ones(2, 3), "z": torch.ones(2)}, "do not fit Takes.forward"),
        ((torch.ones(2, 3), 3), "input 'y' is int; an input is a Tensor, JaggedTensor or KeyedJaggedTensor: wrap"),
        ((torch.ones(2, 3), torch.tensor(1.0)), r"input 'y' is a tensor without dimensions; inputs are \[batch, …\]"),
        (
            (torch.ones(2, 3), torch.ones(5)),
            "inputs of one example differ in their rows: 'x' has 2, 'y' has 5; every input",
        ),
        (
            [(torch.ones(2, 3), torch.ones(2)), (torch.ones(2, 4), torch.ones(2))],
            r"input 'x' has rows of shapes \[\(3,\), \(4,\)\] in the examples; only the batch, axis 0, may change",
        ),
        (
            [(torch.ones(2, 3), torch.ones(2)), (torch.ones(2, 3), torch.ones(2).int())],
            "input 'y' differs in kind or type between the examples",
        ),
        ([(torch.ones(2, 3), torch.ones(2)), {"x": torch.ones(2, 3)}], "do not fit Takes.forward"),
        (
            (torch.ones(2), torch.ones(2)),
            "the model does not run on the example inputs: IndexError: .*; give inputs that",
        ),
    ],
)
def test_what_cannot_be_inferred_is_refused_with_the_way_out(examples, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        infer_schema(Takes(), examples)


def test_jagged_values_that_are_no_ids_are_refused() -> None:
    embedded = JaggedTensor(values=torch.ones(3, 8), lengths=torch.tensor([1, 2]))
    with pytest.raises(
        SchemaError, match=r"input 'ids': values are ids \[nnz\], .* got JaggedTensor, values torch.float32"
    ):
        infer_schema(Computes(lambda self, ids: ids.values()), {"ids": embedded})


def test_a_keyed_jagged_tensor_of_a_batch_for_each_key_is_refused() -> None:
    variable = KeyedJaggedTensor(
        keys=["a", "b"],
        values=torch.zeros(3, dtype=torch.int64),
        lengths=torch.ones(3, dtype=torch.int64),
        stride_per_key_per_rank=[[1], [2]],
    )
    with pytest.raises(SchemaError, match="input 's' is a KeyedJaggedTensor of another batch size for each key"):
        infer_schema(Computes(lambda self, s: s.values()), {"s": variable})


def test_a_model_without_an_output_for_each_row_is_refused() -> None:
    with pytest.raises(
        SchemaError, match=r"gives no output that is \[B, …\]: output 'score' is left out: it is one number"
    ):
        infer_schema(Computes(lambda self, x: x.mean()), {"x": torch.ones(4)})
