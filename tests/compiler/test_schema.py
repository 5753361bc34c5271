"""The input schema: three kinds of input, the flat tensors they become, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from recpile.pycompiler.schema import (
    DTYPE_NAMES,
    DTYPES,
    Dense,
    InputSchema,
    Jagged,
    KeyedJagged,
    SchemaError,
    TensorSpec,
)


def test_a_dense_input_is_one_tensor_with_the_batch_in_front() -> None:
    assert Dense("price").tensors() == (TensorSpec("price", torch.float32, ("candidate",)),)
    assert Dense("image", (3, 8), torch.float16).tensors() == (TensorSpec("image", torch.float16, ("candidate", 3, 8)),)


def test_a_jagged_input_is_values_and_lengths() -> None:
    assert Jagged("ids").tensors() == (
        TensorSpec("ids.values", torch.int64, ("ids.nnz",)),
        TensorSpec("ids.lengths", torch.int64, ("candidate",)),
    )


def test_a_keyed_jagged_input_has_a_row_of_lengths_for_every_key() -> None:
    one = KeyedJagged("sparse", ["user", "item"], dtype=torch.int32, lengths_dtype=torch.int32)
    assert one.tensors() == (
        TensorSpec("sparse.values", torch.int32, ("sparse.nnz",)),
        TensorSpec("sparse.lengths", torch.int32, (2, "candidate")),
    )


@pytest.mark.parametrize("one", [Jagged("x", weighted=True), KeyedJagged("x", ["k"], weighted=True)])
def test_a_weighted_input_has_a_weight_for_every_id(one: Jagged | KeyedJagged) -> None:
    assert one.tensors()[2] == TensorSpec("x.weights", torch.float32, ("x.nnz",))


@pytest.mark.proves("Input schema", "Python", "graph")
def test_flat_tensors_come_in_the_order_of_the_inputs() -> None:
    schema = InputSchema([Jagged("b", weighted=True), Dense("a"), KeyedJagged("c", ["k"])])
    names = [spec.name for spec in schema.tensors()]
    assert names == ["b.values", "b.lengths", "b.weights", "a", "c.values", "c.lengths"]


def test_an_input_is_found_by_its_name() -> None:
    schema = InputSchema([Dense("a"), Jagged("b")])
    assert schema["b"] == Jagged("b")
    with pytest.raises(KeyError):
        schema["c"]


def test_one_output_is_called_score_unless_named() -> None:
    assert InputSchema([Dense("a")]).outputs == ("score",)
    assert InputSchema([Dense("a")], ["click", "buy"]).outputs == ("click", "buy")


def test_schemas_are_equal_by_value() -> None:
    assert InputSchema([Dense("a", (3,))]) == InputSchema((Dense("a", (3,)),))
    assert InputSchema([Dense("a")]) != InputSchema([Dense("a", (1,))])
    assert hash(KeyedJagged("a", ["k"])) == hash(KeyedJagged("a", ("k",)))


def test_every_type_has_one_name() -> None:
    assert DTYPES["fp32"] is torch.float32
    assert {DTYPE_NAMES[dtype]: dtype for dtype in DTYPE_NAMES} == DTYPES


@pytest.mark.proves("Input schema", "Python", "refusal")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense("my input"), "got input name 'my input'; use the name of a parameter of the model's forward"),
        (lambda: Jagged("ids.values"), "got input name 'ids.values'"),
        (lambda: KeyedJagged("", ["k"]), "got input name ''"),
        (lambda: Dense("x", (0,)), r"Dense 'x': got shape \(0,\); use positive sizes of one row, without the batch"),
        (lambda: Dense("x", (-1, 3)), r"Dense 'x': got shape \(-1, 3\)"),
        # pyrefly: ignore [bad-argument-type]
        (lambda: Dense("x", ("B",)), r"Dense 'x': got shape \('B',\)"),
        # pyrefly: ignore [bad-argument-type]
        (lambda: Dense("x", (3.0,)), r"Dense 'x': got shape \(3.0,\)"),
        (lambda: Dense("x", dtype=torch.complex64), "Dense 'x': got dtype torch.complex64; use one of bool, uint8"),
        (
            lambda: Jagged("x", dtype=torch.float32),
            "input 'x': got dtype torch.float32; use torch.int64 or torch.int32",
        ),
        (lambda: Jagged("x", lengths_dtype=torch.int8), "input 'x': got lengths_dtype torch.int8"),
        (lambda: KeyedJagged("x", ["k"], dtype=torch.bool), "input 'x': got dtype torch.bool"),
        (lambda: KeyedJagged("x", []), r"KeyedJagged 'x': got keys \[\]; use a sequence of one or more feature names"),
        (lambda: KeyedJagged("x", "user"), "KeyedJagged 'x': got keys 'user'"),
        (
            lambda: KeyedJagged("x", ["a", "b", "a"]),
            r"KeyedJagged 'x': keys \['a'\] appear twice; a key names one feature",
        ),
        (lambda: InputSchema([]), "InputSchema: got no inputs; a model has at least one"),
        (lambda: InputSchema([Dense("a"), Jagged("a")]), "InputSchema: input 'a' appears twice; names are unique"),
        (lambda: InputSchema([Dense("a")], []), r"InputSchema: got outputs \[\]; use a sequence of one or more names"),
        (lambda: InputSchema([Dense("a")], "score"), "InputSchema: got outputs 'score'"),
        (lambda: InputSchema([Dense("a")], ["s", "s"]), r"InputSchema: outputs \['s', 's'\] repeat a name"),
    ],
)
def test_refused_with_what_was_got_and_what_to_use(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        make()
