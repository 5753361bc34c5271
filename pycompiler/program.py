"""Program: what flows through the passes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from torch import Tensor
from torch.export import ExportedProgram

from recpile.pycompiler.schema import InputSchema, TensorSpec


@dataclass(frozen=True)
class TableError:
    """What a data type costs a table or a layer's weight, against the fp32 values: absolute, over all elements."""

    mean: float
    max: float


@dataclass(frozen=True)
class Table:
    """One embedding table. `dtype` is the type of its rows; "fp32" and unpacked until passes/quantize_tables.py.

    A model that was quantized by TorchRec brings its rows packed: `given`, of type `given_dtype`.
    """

    name: str
    rows: int
    dim: int
    dtype: str = "fp32"
    packed: bool = False
    error: TableError = TableError(0.0, 0.0)
    given: Tensor | None = field(default=None, repr=False, compare=False)
    given_dtype: str = "fp32"


@dataclass(frozen=True)
class Source:
    """One source of a lookup, by value names: jagged (ids [nnz], lengths [F, B]), or fixed (no lengths; ids of any
    shape seen as [N, columns]). Weights, if any, are shaped as the ids."""

    values: str
    lengths: str | None
    weights: str | None = None
    columns: int = 0  # of a fixed source


@dataclass(frozen=True)
class Feature:
    """Row `row` of source number `source` is looked up in `table` (a table's name); of a fixed source, the columns
    `row` to `row + size`, one bag a row."""

    source: int
    row: int
    table: str
    size: int = 0  # of a fixed source's feature


@dataclass(frozen=True)
class Lookup:
    """What an embedding stage runs: one table-batched call. `pooling` is "sum", "mean" or "none" (operators.py)."""

    sources: tuple[Source, ...]
    features: tuple[Feature, ...]
    pooling: str


@dataclass(frozen=True)
class Layer:
    """One matrix product of a compiled stage. `bytes`: of its weight, 0 for a product of activations; `error`: of the
    weight, against its fp32 values."""

    name: str
    dtype: str
    bytes: int
    error: TableError = TableError(0.0, 0.0)


@dataclass(frozen=True)
class Placement:
    """Where a stage runs. This runtime has one device, "cpu"; it refuses a stage that is placed on another."""

    device: str = "cpu"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]+(:\d+)?", self.device):
            raise ValueError(
                f"device: got {self.device!r}; use 'cpu', or a device as torch writes it, such as 'cuda:0'"
            )


@dataclass(frozen=True)
class Stage:
    """One node of the DAG. Its graph takes `inputs` in order and gives `outputs` in order.

    kind "embedding": `lookup` says what the runtime does; the graph takes the packed tables first, then the inputs.
    kind "compiled": the graph is lowered by AOTInductor.
    """

    name: str
    kind: str
    graph: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    lookup: Lookup | None = None
    precision: str = "fp32"  # of a compiled stage: that of its layers which are not fp32, or "mixed"
    layers: tuple[Layer, ...] = ()
    placement: Placement = Placement()


@dataclass(frozen=True)
class Note:
    """One line of the log: what a pass did to `subject`, or why it declined."""

    pass_name: str
    did: bool
    subject: str
    reason: str


@dataclass(frozen=True)
class Program:
    """The captured graph, its tables by parameter name in the graph, its schema, its stages (none before the split)."""

    name: str
    graph: ExportedProgram
    schema: InputSchema
    tables: Mapping[str, Table]
    stages: tuple[Stage, ...] = ()
    outputs: tuple[str, ...] = ()  # the value names of the model's outputs, once split
    left_out: tuple[str, ...] = ()  # what the model returns and the schema's outputs do not name
    log: tuple[Note, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", MappingProxyType(dict(self.tables)))

    def value_specs(self) -> dict[str, TensorSpec]:
        """What flows between the stages, by value name: the graph's inputs and every stage's outputs."""
        given = (spec for stage in self.stages for spec in stage.outputs)
        return {spec.name: spec for spec in (*self.schema.graph_tensors(), *given)}

    def with_notes(self, *notes: Note) -> Program:
        return replace(self, log=self.log + notes)
