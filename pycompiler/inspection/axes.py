"""Sizes of a stage's graph in the manifest's words: "candidate", "<input>.nnz", "5*candidate"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import sympy
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

# A name of an axis inside an expression; not a function's, which stands before "(".
_AXIS = re.compile(r"[A-Za-z_][\w.]*(?![\w.]*\()")
# A size that no axis explains (it depends on the data) counts as one of this many, whatever the batch.
_UNKNOWN = 64


class Axes:
    """The sizes of one graph: which symbol is which axis, and what a size is when the axes have given sizes."""

    def __init__(self, graph: ExportedProgram, shapes: Sequence[Sequence[int | str]]) -> None:
        """`shapes`: of the graph's user inputs, in order, as the manifest writes them."""
        self._texts: dict[sympy.Symbol, str] = {}
        for node, shape in zip(user_inputs(graph), shapes, strict=True):
            for size, text in zip(node.meta["val"].shape, shape, strict=True):
                if isinstance(size, torch.SymInt) and isinstance(size.node.expr, sympy.Symbol):
                    self._texts.setdefault(size.node.expr, str(text))
        self.names = tuple(dict.fromkeys(name for text in self._texts.values() for name in _AXIS.findall(text)))

    def text(self, size: int | torch.SymInt) -> int | str:
        """As the manifest writes it; a size that depends on the data keeps torch's name for it."""
        if isinstance(size, int):
            return size
        named = {symbol: sympy.Symbol(text) for symbol, text in self._texts.items()}
        return str(size.node.expr.xreplace(named))

    def size(self, size: int | torch.SymInt, of: Mapping[str, int]) -> int:
        """`size` when the axes have the sizes `of`."""
        if isinstance(size, int):
            return size
        known = {symbol: sympy.Integer(_evaluate(text, of)) for symbol, text in self._texts.items()}
        known |= {one: sympy.Integer(_UNKNOWN) for one in size.node.expr.free_symbols if one not in known}
        return int(size.node.expr.xreplace(known))

    def elements(self, tensor: Tensor, of: Mapping[str, int]) -> int:
        count = 1
        for size in tensor.shape:
            count *= self.size(size, of)
        return count


def user_inputs(graph: ExportedProgram) -> list[Node]:
    """The placeholders that are the graph's inputs, without weights and constants, in order."""
    kinds = {spec.arg.name: spec.kind for spec in graph.graph_signature.input_specs}
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    return [node for node in nodes if kinds[node.name] == InputKind.USER_INPUT]


def _evaluate(text: str, of: Mapping[str, int]) -> int:
    return int(sympy.sympify(_AXIS.sub(lambda name: str(of.get(name[0], _UNKNOWN)), text)))
