"""Program: what flows through the passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from torch.export import ExportedProgram

from recpile.pycompiler.schema import InputSchema, TensorSpec


@dataclass(frozen=True)
class TableError:
    """What a table's data type costs, against its fp32 values: absolute, over all elements."""

    mean: float
    max: float


@dataclass(frozen=True)
class Table:
    """One embedding table. `dtype` is the type of its rows; "fp32" and unpacked until passes/quantize_tables.py."""

    name: str
    rows: int
    dim: int
    dtype: str = "fp32"
    packed: bool = False
    error: TableError = TableError(0.0, 0.0)


@dataclass(frozen=True)
class Source:
    """One jagged source of a lookup, by value names: ids [nnz], lengths [F, B], weights [nnz] or None."""

    values: str
    lengths: str
    weights: str | None = None


@dataclass(frozen=True)
class Feature:
    """Row `row` of source number `source` is looked up in `table` (a table's name)."""

    source: int
    row: int
    table: str


@dataclass(frozen=True)
class Lookup:
    """What an embedding stage runs: one table-batched call. `pooling` is "sum" or "mean"."""

    sources: tuple[Source, ...]
    features: tuple[Feature, ...]
    pooling: str


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
    precision: str = "fp32"  # of a compiled stage's layers, but the last of each output


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
    log: tuple[Note, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", MappingProxyType(dict(self.tables)))

    def with_notes(self, *notes: Note) -> Program:
        return replace(self, log=self.log + notes)
