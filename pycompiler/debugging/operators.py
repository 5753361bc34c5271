"""Runs a captured graph operator by operator, and shows each to a hook."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_leaves

from recpile.pycompiler.source_lines import source_of


@dataclass(frozen=True)
class OperatorCall:
    """One operator that has run. `inputs`: the tensors that it read, by the names that they have in the graph (weights
    by their own). `outputs`: the tensors that it gave, mostly one. `source`: "file:line: code" of the model, or ""."""

    stage: str
    name: str
    operator: str
    source: str
    inputs: Mapping[str, Tensor]
    outputs: tuple[Tensor, ...]
    seconds: float

    @property
    def path(self) -> str:
        """ "stage/name": what globs are matched with."""
        return f"{self.stage}/{self.name}"

    def __str__(self) -> str:
        return f"{self.operator} '{self.name}' of stage {self.stage}" + (f" ({self.source})" if self.source else "")


OperatorHook = Callable[[OperatorCall], None]


class GraphRunner:
    """A captured graph, ready to be run through PyTorch's own operators, one after the other."""

    def __init__(self, graph: ExportedProgram, stage: str) -> None:
        module = graph.module(check_guards=False)
        assert isinstance(module, GraphModule)
        self.module, self.stage = module, stage
        self._sources = {node: source_near(node) for node in module.graph.nodes if node.op == "call_function"}

    def run(self, args: Sequence[object], hook: OperatorHook) -> list[Tensor]:
        """The graph's outputs. `hook` sees every operator that gives a tensor as soon as it has run."""
        with torch.no_grad():
            given = _Shown(self.module, self.stage, self._sources, hook).run(*args)
        return [given] if isinstance(given, Tensor) else list(given)


def source_near(node: Node) -> str:
    """The line of the model that `node` comes from; of what a pass added, the line of what it reads or is read by."""
    near = (node, *node.all_input_nodes, *node.users)
    return next(filter(None, map(source_of, near)), "")


class _Shown(Interpreter):
    def __init__(self, module: GraphModule, stage: str, sources: Mapping[Node, str], hook: OperatorHook) -> None:
        super().__init__(module)
        self.stage, self.sources, self.hook = stage, sources, hook

    def run_node(self, n: Node) -> object:
        if n.op != "call_function":
            return super().run_node(n)
        read = {_name(one): self.env[one] for one in n.all_input_nodes}
        started = time.perf_counter()
        result = super().run_node(n)
        seconds = time.perf_counter() - started
        outputs = tuple(one for one in tree_leaves(result) if isinstance(one, Tensor))
        if outputs:
            inputs = {name: one for name, one in read.items() if isinstance(one, Tensor)}
            self.hook(OperatorCall(self.stage, n.name, _operator(n), self.sources[n], inputs, outputs, seconds))
        return result


def _name(node: Node) -> str:
    return str(node.target) if node.op == "get_attr" else node.name


def _operator(node: Node) -> str:
    return str(node.target) if hasattr(node.target, "_schema") else getattr(node.target, "__name__", str(node.target))
