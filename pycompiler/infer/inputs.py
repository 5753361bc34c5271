"""The inputs of a schema from example values, and which axis is the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recpile.pycompiler.infer.examples import Example, Value, batch_size
from recpile.pycompiler.schema import DTYPE_NAMES, Dense, Input, Jagged, KeyedJagged, SchemaError


def infer_inputs(examples: Sequence[Example]) -> tuple[list[Input], list[str]]:
    """One input a value, and messages on what was taken for the batch.

    SchemaError if the inputs of an example do not agree on it, or if a dense input has another size that changes
    between examples.
    """
    messages = [_batch_message([_batch_of(example) for example in examples], len(examples[0]))]
    inputs = []
    for name in examples[0]:
        values = [example[name] for example in examples]
        one = _input(name, values)
        inputs.append(one)
        messages.append(f"input '{name}': {describe(one)}")
    return inputs, messages


def describe(one: Input) -> str:
    if isinstance(one, Dense):
        return f"dense {DTYPE_NAMES[one.dtype]} [B{''.join(f', {size}' for size in one.shape)}]"
    keys = f" with keys {', '.join(one.keys)}" if isinstance(one, KeyedJagged) else ""
    kind = "keyed jagged" if isinstance(one, KeyedJagged) else "jagged"
    ids = f"{DTYPE_NAMES[one.dtype]} ids, {DTYPE_NAMES[one.lengths_dtype]} lengths"
    return f"{kind}{keys}, {ids}{', weighted' if one.weighted else ''}"


def _batch_of(example: Example) -> int:
    rows = {name: batch_size(name, value) for name, value in example.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"'{name}' has {size}" for name, size in rows.items())
        raise SchemaError(
            f"the inputs of one example differ in their rows: {counts}; every input is [B, …], with the batch first, "
            "and B is the same for all (the model gets what is sent once a request repeated for each candidate)"
        )
    return next(iter(rows.values()))


def _batch_message(sizes: Sequence[int], inputs: int) -> str:
    said = f"axis 0 of every input is the batch: {' and '.join(map(str, dict.fromkeys(sizes)))} rows"
    if len(set(sizes)) > 1:
        return f"{said}, as it differs between the examples"
    why = "all inputs agree on it" if inputs > 1 else "nothing contradicts it"
    return f"{said}; {why}, but only examples of two batch sizes would show it"


def _input(name: str, values: Sequence[Value]) -> Input:
    first = values[0]
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1:
        raise SchemaError(f"input '{name}' differs in kind or type between the examples: {kinds}")
    if isinstance(first, Tensor):
        shapes = {tuple(value.shape[1:]) for value in values if isinstance(value, Tensor)}
        if len(shapes) > 1:
            raise SchemaError(
                f"input '{name}' has rows of shapes {sorted(shapes)} in the examples; only the batch, axis 0, may "
                "change: put the batch first, and pad the rest to one size or make it a JaggedTensor"
            )
        return Dense(name, tuple(first.shape[1:]), first.dtype)
    weights = first.weights_or_none()
    if first.values().dim() != 1 or (weights is not None and (weights.dim() != 1 or weights.dtype != torch.float32)):
        raise SchemaError(f"input '{name}': values are ids [nnz], and weights fp32 [nnz]; got {_kind(first)}")
    common: dict[str, Any] = {
        "dtype": first.values().dtype,
        "lengths_dtype": first.lengths().dtype,
        "weighted": weights is not None,
    }
    if isinstance(first, KeyedJaggedTensor):
        return KeyedJagged(name, first.keys(), **common)
    return Jagged(name, **common)


def _kind(value: Value) -> str:
    if isinstance(value, Tensor):
        return f"Tensor {value.dtype}"
    weights = value.weights_or_none()
    keys = f" {value.keys()}" if isinstance(value, KeyedJaggedTensor) else ""
    weighted = "no weights" if weights is None else f"weights {weights.dtype} of {weights.dim()} dimensions"
    ids = f"values {value.values().dtype} of {value.values().dim()} dimensions"
    return f"{type(value).__name__}{keys}, {ids}, lengths {value.lengths().dtype}, {weighted}"
