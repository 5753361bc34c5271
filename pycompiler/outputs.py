"""What a model returns, as tensors by the schema's names. What the schema does not name is left out, and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor, KeyedTensor

from recpile.pycompiler.schema import InputSchema, SchemaError


def named_outputs(got: Any, schema: InputSchema) -> tuple[Tensor, ...]:
    """What `forward` returned (a tensor; a tuple, list, dict or dataclass of them) -> the schema's outputs in order."""
    held = by_name(got)
    if held is not None and (isinstance(got, Mapping) or set(schema.outputs) <= set(held)):
        _check_named(held, schema)
        return tuple(_tensor(held[name], name) for name in schema.outputs)
    parts = [got] if isinstance(got, Tensor) else list(got) if isinstance(got, Sequence) else None
    if parts is None:
        raise SchemaError(f"the model returns {_described(got)}; return a tensor, a tuple of tensors or a dict of them")
    names = schema.returns or schema.outputs
    if len(parts) != len(names):
        raise SchemaError(
            f"the model returns {len(parts)} outputs; the schema names {len(names)}: {list(names)}. To drop some, "
            "name all of them in `returns`, and in `outputs` those to keep"
        )
    by_position = dict(zip(names, parts, strict=True))
    return tuple(_tensor(by_position[name], name) for name in schema.outputs)


def left_out(got: Any, schema: InputSchema) -> tuple[str, ...]:
    """The names of what `forward` returned and the schema's outputs do not name. None, as of a loss, is no output."""
    held = by_name(got)
    if held is None or not (isinstance(got, Mapping) or set(schema.outputs) <= set(held)):
        parts = list(got) if isinstance(got, Sequence) else []
        held = dict(zip(schema.returns, parts, strict=False))
    return tuple(str(name) for name, value in held.items() if value is not None and name not in schema.outputs)


def by_name(got: Any) -> Mapping[str, Any] | None:
    """The parts of a dict, a dataclass or a named tuple by their names; None for what has none."""
    if isinstance(got, Mapping):
        return got
    if is_dataclass(got) and not isinstance(got, type):
        return {field.name: getattr(got, field.name) for field in fields(got)}
    if isinstance(got, tuple) and hasattr(got, "_asdict"):
        return got._asdict()
    return None


def drop_outputs(schema: InputSchema, names: Sequence[str]) -> InputSchema:
    """The schema without the outputs `names`. SchemaError if it has none of that name, or none would be left."""
    unknown = [name for name in names if name not in (*schema.outputs, *schema.returns)]
    if unknown:
        raise SchemaError(f"--drop-output: got {unknown}; the schema's outputs are {list(schema.outputs)}")
    kept = [name for name in schema.outputs if name not in names]
    if not kept:
        raise SchemaError(f"--drop-output: {list(names)} are all outputs; keep at least one")
    return InputSchema(schema.inputs, kept, schema.returns or schema.outputs, schema.candidates)


def _check_named(held: Mapping[str, Any], schema: InputSchema) -> None:
    if not set(schema.outputs) <= set(held):
        raise SchemaError(
            f"the model returns outputs {sorted(map(str, held))}; the schema names {list(schema.outputs)}"
        )


def _tensor(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise SchemaError(
            f"the model returns {_described(value)} for output '{name}'; every output is a tensor: leave it out of the "
            "schema's outputs"
        )
    return value


def _described(got: Any) -> str:
    jagged = isinstance(got, (KeyedTensor, KeyedJaggedTensor, JaggedTensor))
    return f"a {type(got).__name__}" + (" (its tensor is .values())" if jagged else "")
