"""The input schema: a model's inputs by name, and the flat tensors that they become on the wire.

Three kinds (see DESIGN words in docs/architecture.md): dense, jagged and keyed jagged. Every input is on one of two
batch axes: `candidate` (B rows: what is scored) or `request` (R rows, one a request: user and context features). The
model itself always sees B rows: a request's row is repeated for each of its candidates. A jagged input `x` travels as
`x.values` [nnz], `x.lengths` and, if weighted, `x.weights` [nnz].
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

CANDIDATE = "candidate"
REQUEST = "request"
AXES = (CANDIDATE, REQUEST)

# Of a schema with request inputs: candidate -> index of its request, int64 [B]. The runtime supplies it.
CANDIDATE_TO_REQUEST = "candidate_to_request"

# One name a type in manifests, errors and on the command line; the C++ runtime knows the same names (DTypeName).
DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.bool: "bool",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}
DTYPES: dict[str, torch.dtype] = {name: dtype for dtype, name in DTYPE_NAMES.items()}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ID_DTYPES = (torch.int64, torch.int32)


class SchemaError(ValueError):
    """An input schema, or inputs that do not fit it."""


@dataclass(frozen=True)
class TensorSpec:
    """A flat tensor: each dimension is a size, or the name of an axis (`candidate`, `request`, or `<input>.nnz`)."""

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Dense:
    """A tensor [B, *shape], one row a candidate; on the axis "request" [R, *shape], one row a request."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    axis: str = CANDIDATE

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_axis(self.name, self.axis)
        object.__setattr__(self, "shape", tuple(self.shape))
        if any(not isinstance(size, int) or size < 1 for size in self.shape):
            raise SchemaError(
                f"Dense '{self.name}': got shape {self.shape}; use positive sizes of one row, without the batch"
            )
        if self.dtype not in DTYPE_NAMES:
            raise SchemaError(f"Dense '{self.name}': got dtype {self.dtype}; use one of {', '.join(DTYPES)}")

    def tensors(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec(self.name, self.dtype, (self.axis, *self.shape)),)


@dataclass(frozen=True)
class Jagged:
    """One sparse feature: `values` [nnz], `lengths` [B] ([R] on the axis "request"), optional `weights` [nnz].

    The model gets a JaggedTensor.
    """

    name: str
    dtype: torch.dtype = torch.int64
    lengths_dtype: torch.dtype = torch.int64
    weighted: bool = False
    axis: str = CANDIDATE

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_axis(self.name, self.axis)
        _check_id_dtypes(self.name, self.dtype, self.lengths_dtype)

    def tensors(self) -> tuple[TensorSpec, ...]:
        return _jagged_tensors(self, (self.axis,))


@dataclass(frozen=True)
class KeyedJagged:
    """TorchRec's KJT: `F` keys, `values` [nnz] key by key, `lengths` feature-major [F, B] ([F, R] on the axis
    "request"), optional `weights` [nnz]."""

    name: str
    keys: Sequence[str]
    dtype: torch.dtype = torch.int64
    lengths_dtype: torch.dtype = torch.int64
    weighted: bool = False
    axis: str = CANDIDATE

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_axis(self.name, self.axis)
        _check_id_dtypes(self.name, self.dtype, self.lengths_dtype)
        if isinstance(self.keys, str) or not self.keys:
            raise SchemaError(
                f"KeyedJagged '{self.name}': got keys {self.keys!r}; use a sequence of one or more feature names"
            )
        object.__setattr__(self, "keys", tuple(self.keys))
        repeated = sorted({key for key in self.keys if self.keys.count(key) > 1})
        if repeated:
            raise SchemaError(f"KeyedJagged '{self.name}': keys {repeated} appear twice; a key names one feature")

    def tensors(self) -> tuple[TensorSpec, ...]:
        return _jagged_tensors(self, (len(self.keys), self.axis))


Input = Dense | Jagged | KeyedJagged


@dataclass(frozen=True)
class InputSchema:
    """A model's inputs, named as the parameters of its `forward`, and the names of its outputs.

    A model that returns one tensor has one output name; one that returns a tuple has as many; for a dict the names are
    among its keys. Every output is [B, ...]. Of a tuple only some are kept (a loss is not) if `returns` names all of it
    in order, and `outputs` those to keep. `candidates`: how many a request brings, usually; any number may come, but by
    this one passes judge what it is worth to compute something once a request.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...] = ("score",)
    returns: tuple[str, ...] = ()
    candidates: int = 200
    _by_name: dict[str, Input] = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[str] = ("score",),
        returns: Sequence[str] = (),
        candidates: int = 200,
    ) -> None:
        if not inputs:
            raise SchemaError("InputSchema: got no inputs; a model has at least one")
        if isinstance(outputs, str) or not outputs:
            raise SchemaError(f"InputSchema: got outputs {outputs!r}; use a sequence of one or more names")
        by_name: dict[str, Input] = {}
        for one in inputs:
            if one.name in by_name:
                raise SchemaError(f"InputSchema: input '{one.name}' appears twice; names are unique")
            by_name[one.name] = one
        if all(one.axis == REQUEST for one in inputs):
            raise SchemaError(
                f"InputSchema: every input is on the axis '{REQUEST}'; put what is scored, at least one input, on "
                f"'{CANDIDATE}'"
            )
        if len(set(outputs)) != len(tuple(outputs)):
            raise SchemaError(f"InputSchema: outputs {list(outputs)} repeat a name; names are unique")
        if isinstance(returns, str) or len(set(returns)) != len(tuple(returns)):
            raise SchemaError(f"InputSchema: got returns {returns!r}; use the names of what forward returns, each once")
        if returns and not set(outputs) <= set(returns):
            raise SchemaError(f"InputSchema: outputs {list(outputs)} are not all among returns {list(returns)}")
        if type(candidates) is not int or candidates < 1:
            raise SchemaError(f"InputSchema: got candidates {candidates!r}; use how many a request brings, 1 or more")
        object.__setattr__(self, "inputs", tuple(inputs))
        object.__setattr__(self, "outputs", tuple(outputs))
        object.__setattr__(self, "returns", tuple(returns))
        object.__setattr__(self, "candidates", candidates)
        object.__setattr__(self, "_by_name", by_name)

    def __getitem__(self, name: str) -> Input:
        return self._by_name[name]

    @property
    def has_requests(self) -> bool:
        return any(one.axis == REQUEST for one in self.inputs)

    def tensors(self) -> tuple[TensorSpec, ...]:
        """The flat tensors that a client sends."""
        return tuple(tensor for one in self.inputs for tensor in one.tensors())

    def graph_tensors(self) -> tuple[TensorSpec, ...]:
        """The flat tensors, in the order in which the captured graph takes them: what a client sends, and the map."""
        mapped = (TensorSpec(CANDIDATE_TO_REQUEST, torch.int64, (CANDIDATE,)),)
        return self.tensors() + (mapped if self.has_requests else ())


def _jagged_tensors(one: Jagged | KeyedJagged, lengths_shape: tuple[int | str, ...]) -> tuple[TensorSpec, ...]:
    nnz = f"{one.name}.nnz"
    flat = (
        TensorSpec(f"{one.name}.values", one.dtype, (nnz,)),
        TensorSpec(f"{one.name}.lengths", one.lengths_dtype, lengths_shape),
    )
    return (*flat, TensorSpec(f"{one.name}.weights", torch.float32, (nnz,))) if one.weighted else flat


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SchemaError(f"got input name {name!r}; use the name of a parameter of the model's forward")
    if name == CANDIDATE_TO_REQUEST:
        raise SchemaError(f"got input name '{name}', which the runtime itself supplies; rename the parameter")


def _check_axis(name: str, axis: str) -> None:
    if axis not in AXES:
        raise SchemaError(f"input '{name}': got axis {axis!r}; use {' or '.join(map(repr, AXES))}")


def _check_id_dtypes(name: str, dtype: torch.dtype, lengths_dtype: torch.dtype) -> None:
    for what, got in (("dtype", dtype), ("lengths_dtype", lengths_dtype)):
        if got not in _ID_DTYPES:
            raise SchemaError(f"input '{name}': got {what} {got}; use torch.int64 or torch.int32")
