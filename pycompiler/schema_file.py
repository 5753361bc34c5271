"""The input schema as YAML, both ways. docs/input_schema.md is the grammar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import torch
import yaml

from recpile.pycompiler.schema import (
    DTYPE_NAMES,
    DTYPES,
    Dense,
    Input,
    InputSchema,
    Jagged,
    KeyedJagged,
    SchemaError,
)
from recpile.pycompiler.yaml_file import parse_yaml

_KINDS: dict[str, type[Input]] = {"dense": Dense, "jagged": Jagged, "keyed_jagged": KeyedJagged}
_KEYS = ("inputs", "outputs", "returns", "candidates")


def read_schema(path: str | Path) -> InputSchema:
    """SchemaError names what is wrong and where; OSError if the file cannot be opened."""
    return parse_schema(Path(path).read_text(encoding="utf-8"), str(path))


def parse_schema(text: str, source: str = "the schema") -> InputSchema:
    try:
        held = parse_yaml(text, source)
        _check_keys(held, _KEYS, "a schema")
        inputs = held.get("inputs")
        if not isinstance(inputs, dict):
            raise SchemaError(f"got inputs {inputs!r}; use a mapping from each input's name to its kind and shape")
        named: dict[str, Any] = {key: _names(held[key], key) for key in ("outputs", "returns") if key in held}
        if "candidates" in held:
            named["candidates"] = held["candidates"]
        return InputSchema([_input(name, one) for name, one in inputs.items()], **named)
    except ValueError as error:
        message = str(error)
        raise SchemaError(message if message.startswith(source) else f"{source}: {message}") from error


def format_schema(schema: InputSchema) -> str:
    """The YAML that `parse_schema` reads back as an equal schema. What is as by default is left out."""
    held: dict[str, Any] = {"inputs": {one.name: _described(one) for one in schema.inputs}}
    held["outputs"] = list(schema.outputs)
    if schema.returns:
        held["returns"] = list(schema.returns)
    if schema.candidates != InputSchema.candidates:
        held["candidates"] = schema.candidates
    return yaml.dump(held, Dumper=_Dumper, sort_keys=False, width=100)


def _input(name: object, held: object) -> Input:
    if not isinstance(name, str):
        raise SchemaError(f"got input name {name!r}; names are text: put quotes around it")
    if not isinstance(held, dict) or held.get("kind") not in _KINDS:
        got = held.get("kind") if isinstance(held, dict) else held
        raise SchemaError(f"input '{name}': got kind {got!r}; use one of {', '.join(_KINDS)}")
    kind = _KINDS[held["kind"]]
    known = {field.name: field for field in fields(kind) if field.name != "name"}
    _check_keys(held, ("kind", *known), f"input '{name}' of kind {held['kind']}")
    absent = [key for key, field in known.items() if _default(field) is MISSING and key not in held]
    if absent:
        raise SchemaError(f"input '{name}': {absent[0]} is missing; a {held['kind']} input has it")
    given = {key: _value(value, known[key], name) for key, value in held.items() if key != "kind"}
    return kind(name, **given)


def _value(value: object, field: Field, name: str) -> Any:
    """A YAML value as the dataclass takes it; what it may be is the dataclass's own to check, but for its type."""
    if field.name.endswith("dtype"):
        if not isinstance(value, str) or value not in DTYPES:
            raise SchemaError(f"input '{name}': got {field.name} {value!r}; use one of {', '.join(DTYPES)}")
        return DTYPES[value]
    if field.name == "keys":
        return _names(value, f"keys of input '{name}'")
    if field.name == "shape":
        if not isinstance(value, list) or not all(type(size) is int for size in value):
            raise SchemaError(f"input '{name}': got shape {value!r}; use a list of sizes, [] for one number a row")
        return tuple(value)
    wanted = type(_default(field))
    if type(value) is not wanted:
        raise SchemaError(f"input '{name}': got {field.name} {value!r}; use a {wanted.__name__}")
    return value


def _described(one: Input) -> dict[str, Any]:
    kind = next(name for name, kind in _KINDS.items() if type(one) is kind)
    held: dict[str, Any] = {"kind": kind}
    for field in fields(one):
        value = getattr(one, field.name)
        if field.name == "name" or (value == _default(field) and field.name != "dtype"):
            continue
        plain = list(value) if isinstance(value, tuple) else value
        held[field.name] = DTYPE_NAMES[plain] if isinstance(plain, torch.dtype) else plain
    return held


def _default(field: Field) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _names(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise SchemaError(
            f"got {what} {value!r}; use a list of one or more names, in quotes where YAML sees another type"
        )
    return value


def _check_keys(held: object, known: tuple[str, ...], what: str) -> None:
    if not isinstance(held, Mapping):
        raise SchemaError(f"got {type(held).__name__} for {what}; use a mapping with {', '.join(known)}")
    unknown = [key for key in held if key not in known]
    if unknown:
        raise SchemaError(f"got {unknown[0]!r} in {what}; its keys are {', '.join(known)}")


class _Dumper(yaml.SafeDumper):
    """Lists and the inputs' own mappings on one line; the rest as blocks."""


def _flow_list(dumper: yaml.SafeDumper, value: list) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


def _flow_leaf(dumper: yaml.SafeDumper, value: dict) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style="kind" in value)


_Dumper.add_representer(list, _flow_list)
_Dumper.add_representer(dict, _flow_leaf)
