"""What passes share to edit a captured graph: unlift it, change it, capture it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule, Node

from recpile.pycompiler import operators  # noqa: F401  # registers the operators named below
from recpile.pycompiler.capture import export_flat
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import AXES, TensorSpec

EMBEDDING_BAGS = torch.ops.recpile.embedding_bags.default
PACKED_EMBEDDING_BAGS = torch.ops.recpile.packed_embedding_bags.default
LOOKUPS = (EMBEDDING_BAGS, PACKED_EMBEDDING_BAGS)

aten = torch.ops.aten
# What shares its argument's memory, as far as views of lookups go.
_VIEWS = (
    aten.view.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.select.int,
    aten.transpose.int,
    aten.permute.default,
    aten.expand.default,
)


def editable(graph: ExportedProgram) -> GraphModule:
    """A module of the captured graph with its weights as attributes. Shares the weights, not the nodes."""
    module = graph.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module


def recaptured(program: Program, module: GraphModule) -> Program:
    """`program` with its graph captured anew from the edited module."""
    _reshape_what_was_cut(module)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    known = {node.target for node in program.graph.graph.nodes if node.op == "call_function"} | set(LOOKUPS)
    return replace(program, graph=export_flat(module, program.schema, known))


def _reshape_what_was_cut(module: GraphModule) -> None:
    """A view of what is now a slice of something wider may need a copy; reshape makes one only if it does."""
    cut: set[Node] = set()
    for node in module.graph.nodes:
        if node.target is aten.slice.Tensor:
            cut.add(node)
        elif node.target in _VIEWS and node.args[0] in cut:
            if node.target is aten.view.default:
                node.target = aten.reshape.default
            cut.add(node)


def attribute(module: GraphModule, fqn: str) -> Tensor:
    owner, _, name = fqn.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def add_buffer(module: GraphModule, fqn: str, tensor: Tensor) -> None:
    owner, _, name = fqn.rpartition(".")
    module.get_submodule(owner).register_buffer(name, tensor)


def drop_unused_weights(module: GraphModule) -> None:
    """Forgets the weights that no node reads any more: torch.export would carry them along."""
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for fqn in [fqn for fqn, _ in (*module.named_parameters(), *module.named_buffers()) if fqn not in used]:
        owner, _, name = fqn.rpartition(".")
        delattr(module.get_submodule(owner), name)


def axis_symbols(placeholders: Sequence[Node], specs: Sequence[TensorSpec]) -> dict[sympy.Expr, sympy.Symbol]:
    """The symbols that a graph's inputs have for the axes that their specs name."""
    axes: dict[sympy.Expr, sympy.Symbol] = {}
    for node, spec in zip(placeholders, specs, strict=True):
        for size, name in zip(node.meta["val"].shape, spec.shape, strict=True):
            if isinstance(name, str) and isinstance(size, torch.SymInt):
                axes.setdefault(size.node.expr, sympy.Symbol(name))
    return axes


def dynamic_axes(node: Node, axes: Mapping[sympy.Expr, sympy.Symbol]) -> dict[int, object]:
    """The symbolic axes of a tensor node, as torch.export wants them said. `axes`: the program's, by their symbols.

    A batch axis and its multiples are named, so that a stage knows which of its sizes go together and that one row is
    enough; what else depends on data is a size of its own.
    """
    found: dict[int, object] = {}
    for i, size in enumerate(node.meta["val"].shape):
        if not isinstance(size, torch.SymInt):
            continue
        times, symbol = size.node.expr.as_coeff_Mul()
        name = str(axes.get(symbol, ""))
        if name in AXES and times.is_Integer:
            axis = Dim(name, min=1)
            found[i] = axis if times == 1 else int(times) * axis
        else:
            found[i] = Dim.DYNAMIC
    return found


def lookups(module: GraphModule) -> Iterator[tuple[Node, LookupCall]]:
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in LOOKUPS:
            yield node, LookupCall.of(node)


@dataclass
class LookupCall:
    """The arguments of a lookup node, by name (pycompiler/operators.py). `tables` are get_attr nodes."""

    tables: list[Node]
    values: list[Node]
    lengths: list[Node | None]
    weights: list[Node]
    feature_source: list[int]
    feature_row: list[int]
    feature_table: list[int]
    pooling: int
    columns: list[int]  # a source, 0 for a jagged one
    feature_size: list[int]  # a feature, 0 of a jagged source
    # Packed lookups only.
    dims: list[int] | None = None
    dtypes: list[int] | None = None

    @staticmethod
    def of(node: Node) -> LookupCall:
        tables, *rest = node.args
        packed = node.target is PACKED_EMBEDDING_BAGS
        dims, dtypes = (rest[0], rest[1]) if packed else (None, None)
        lists = [list(one) if isinstance(one, (list, tuple)) else one for one in rest[2 if packed else 0 :]]
        if len(lists) == 7:  # all sources are jagged
            lists += [[0] * len(lists[0]), [0] * len(lists[3])]  # type: ignore[arg-type]
        return LookupCall(list(tables), *lists, dims, dtypes)  # type: ignore[arg-type]

    def args(self) -> tuple:
        head = (self.tables,) if self.dims is None else (self.tables, self.dims, self.dtypes)
        sources = (self.values, self.lengths, self.weights)
        features = (self.feature_source, self.feature_row, self.feature_table, self.pooling)
        return (*head, *sources, *features, self.columns, self.feature_size)

    @property
    def sources(self) -> list[Node]:
        """Every tensor that the lookup reads but its tables, each once."""
        return list(dict.fromkeys([*self.values, *(one for one in self.lengths if one is not None), *self.weights]))

    def widths(self) -> list[int]:
        """Columns of the result, a feature."""
        dims = self.dims or [int(table.meta["val"].shape[1]) for table in self.tables]
        return [dims[t] for t in self.feature_table]
