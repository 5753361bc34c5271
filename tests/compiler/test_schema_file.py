"""The input schema as YAML: what is written is read back equal, and what is wrong is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged, SchemaError
from recpile.pycompiler.schema_file import format_schema, parse_schema, read_schema

WHOLE = InputSchema(
    [
        Dense("price"),
        Dense("image", (3, 8), torch.uint8),
        Jagged("ids", torch.int32, torch.int32, weighted=True, axis="request"),
        KeyedJagged("sparse", ["user", "no"]),
    ],
    outputs=["score"],
    returns=["loss", "score"],
    candidates=50,
)


def test_a_schema_is_written_for_people() -> None:
    assert format_schema(WHOLE) == (
        "inputs:\n"
        "  price: {kind: dense, dtype: fp32}\n"
        "  image: {kind: dense, shape: [3, 8], dtype: uint8}\n"
        "  ids: {kind: jagged, dtype: int32, lengths_dtype: int32, weighted: true, axis: request}\n"
        "  sparse: {kind: keyed_jagged, keys: [user, 'no'], dtype: int64}\n"
        "outputs: [score]\n"
        "returns: [loss, score]\n"
        "candidates: 50\n"
    )


@pytest.mark.proves("Input schema", "YAML file", "graph")
def test_what_is_written_is_read_back_equal() -> None:
    assert parse_schema(format_schema(WHOLE)) == WHOLE


def test_what_is_left_out_is_as_in_python(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text("inputs: {x: {kind: dense}, ids: {kind: jagged}}")
    assert read_schema(tmp_path / "schema.yaml") == InputSchema([Dense("x"), Jagged("ids")])


@pytest.mark.proves("Input schema", "YAML file", "refusal")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "s.yaml: got int for a schema; use a mapping with inputs, outputs, returns"),
        ("inputs: [x]", r"s.yaml: got inputs \['x'\]; use a mapping from each input's name"),
        ("input: {}", "s.yaml: got 'input' in a schema; its keys are inputs, outputs, returns"),
        ("inputs: {}", "InputSchema: got no inputs"),
        ("inputs: {x: {kind: tensor}}", "input 'x': got kind 'tensor'; use one of dense, jagged, keyed_jagged"),
        ("inputs: {x: dense}", "input 'x': got kind 'dense'; use one of"),
        (
            "inputs: {x: {kind: dense, size: [3]}}",
            "got 'size' in input 'x' of kind dense; its keys are kind, shape, dtype, axis",
        ),
        ("inputs: {x: {kind: dense, dtype: float}}", "input 'x': got dtype 'float'; use one of bool, uint8"),
        ("inputs: {x: {kind: dense, shape: 3}}", r"input 'x': got shape 3; use a list of sizes"),
        ("inputs: {x: {kind: dense, shape: [true]}}", r"input 'x': got shape \[True\]; use a list of sizes"),
        ("inputs: {x: {kind: dense, shape: [0]}}", r"s.yaml: Dense 'x': got shape \(0,\); use positive sizes"),
        ("inputs: {x: {kind: keyed_jagged}}", "input 'x': keys is missing; a keyed_jagged input has it"),
        ("inputs: {x: {kind: keyed_jagged, keys: [no]}}", r"got keys of input 'x' \[False\]; use a list .* in quotes"),
        ("inputs: {x: {kind: jagged, weighted: 1}}", "input 'x': got weighted 1; use a bool"),
        ("inputs: {x: {kind: jagged, dtype: fp32}}", "input 'x': got dtype torch.float32; use torch.int64 or"),
        ("inputs: {x: {kind: dense, axis: user}}", "input 'x': got axis 'user'; use 'candidate' or 'request'"),
        ("inputs: {x: {kind: dense, axis: 1}}", "input 'x': got axis 1; use a str"),
        ("inputs: {3: {kind: dense}}", "got input name 3; names are text"),
        ("inputs: {x: {kind: dense}}\noutputs: score", "got outputs 'score'; use a list of one or more names"),
        ("inputs: {x: {kind: dense}}\ncandidates: 0", "s.yaml: InputSchema: got candidates 0; use how many a request"),
        ("inputs: {x: {kind: dense}}\ncandidates: many", "got candidates 'many'; use how many a request brings, 1 or"),
        ("inputs:\n  x: {kind: dense}\n  x: {kind: dense}", "s.yaml, line 3: 'x' is given twice"),
        ("inputs: {", "s.yaml, line 1: "),
    ],
)
def test_what_is_not_a_schema_is_refused(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_schema(text, "s.yaml")
