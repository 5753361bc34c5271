"""SplitStages: cuts the graph into the DAG of stages that the runtime executes."""

from __future__ import annotations

from dataclasses import replace

import sympy
import torch
from torch.fx import Graph, GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.branches import is_size, is_tensor
from recpile.passes.dense_precision import fp32_layers
from recpile.passes.graph import LOOKUPS, LookupCall, attribute, axis_symbols, dynamic_axes, editable
from recpile.passes.stage_parts import Part, stage_parts
from recpile.pycompiler.capture import export_graph
from recpile.pycompiler.operators import POOLINGS
from recpile.pycompiler.program import Feature, Lookup, Program, Source, Stage
from recpile.pycompiler.schema import CANDIDATE, TensorSpec
from recpile.pycompiler.source_lines import named


class SplitStages(Pass):
    """Every lookup becomes an embedding stage; what must run before a lookup, and the rest, become compiled stages.

    before:  one graph: relu(linear(dense)); packed_embedding_bags([item], [sparse.values], …); cat; linear; sigmoid
    after:   stage embedding: (item, sparse.values, sparse.lengths) -> embedding/pooled
             stage dense:     (dense, embedding/pooled) -> dense/sigmoid

    A dense operator runs as late as it may: only what a lookup needs goes in front of it. Branches that the runtime may
    run side by side, such as the towers of a two-tower model, are stages of their own where that is worth it.
    """

    def run(self, program: Program) -> PassResult:
        if program.stages:
            return PassResult(program.with_notes(self.declined("stages", "are split already")), changed=False)
        module = editable(program.graph)
        cut = _Cut(program, module)
        stages = cut.stages()
        notes = [
            self.did(stage.name, f"{stage.kind}: {', '.join(stage.inputs)}{part.why}")
            for stage, part in zip(stages, cut.parts, strict=True)
        ]
        outputs = tuple(cut.value_name(node) for node in cut.output_nodes)
        return PassResult(replace(program, stages=stages, outputs=outputs).with_notes(*notes), changed=True)


class _Cut:
    def __init__(self, program: Program, module: GraphModule) -> None:
        self.program, self.module = program, module
        nodes = list(module.graph.nodes)
        self.output_nodes: list[Node] = list(nodes[-1].args[0])
        placeholders = [node for node in nodes if node.op == "placeholder"]
        specs = program.schema.graph_tensors()
        self.inputs = {node: spec.name for node, spec in zip(placeholders, specs, strict=True)}
        self.axes = axis_symbols(placeholders, specs)
        self.parts = stage_parts(nodes)
        self.part_of = {node: part for part in self.parts for node in part.nodes}

    def value_name(self, node: Node) -> str:
        if node in self.inputs:
            return self.inputs[node]
        return f"{self.part_of[node].name}/{'pooled' if node.target in LOOKUPS else node.name}"

    def stages(self) -> tuple[Stage, ...]:
        return tuple(self._embedding(part) if part.kind == "embedding" else self._compiled(part) for part in self.parts)

    def _given(self, part: Part) -> list[Node]:
        """The tensors of this part that another part or the caller reads."""
        wanted = set(self.output_nodes)

        def crosses(user: Node) -> bool:
            # A size has no part of its own: it is computed in every part that needs it.
            return is_size(user) or (user in self.part_of and self.part_of[user] is not part)

        return [n for n in part.nodes if n in wanted or (is_tensor(n) and any(crosses(user) for user in n.users))]

    def _spec(self, node: Node) -> TensorSpec:
        value = node.meta["val"]
        shape = tuple(_axis_name(size, self.axes) for size in value.shape)
        return TensorSpec(self.value_name(node), value.dtype, shape)

    def _compiled(self, part: Part) -> Stage:
        graph, copied, inputs = Graph(), {}, []

        def copy(node: Node) -> Node:
            if node in copied:
                return copied[node]
            if self.part_of.get(node) is not part and node.op != "get_attr" and is_tensor(node):
                copied[node] = graph.placeholder(node.name)
                copied[node].meta = dict(node.meta)
                inputs.append(node)
                return copied[node]
            # Of this part; or a weight or a size, which each stage that needs it gets for itself.
            for one in node.all_input_nodes:
                copy(one)
            copied[node] = graph.node_copy(node, lambda n: copied[n])
            return copied[node]

        for node in part.nodes:
            copy(node)
        given = self._given(part)
        graph.output(tuple(copied[node] for node in given))
        _placeholders_first(graph)
        stage = GraphModule(self.module, graph)
        dynamic = tuple(dynamic_axes(node, self.axes) for node in inputs)
        exported = export_graph(stage, tuple(_example(node) for node in inputs), dynamic)
        names = tuple(self.value_name(node) for node in inputs)
        outputs = tuple(self._spec(node) for node in given)
        return Stage(part.name, "compiled", exported, names, outputs, layers=fp32_layers(stage))

    def _embedding(self, part: Part) -> Stage:
        (node,) = part.nodes
        call = LookupCall.of(node)
        inputs = call.sources
        graph = Graph()
        copied = {one: graph.placeholder(f"table_{i}") for i, one in enumerate(call.tables)}
        copied |= {one: graph.placeholder(one.name) for one in inputs}
        graph.output((graph.node_copy(node, lambda n: copied[n]),))
        stage = GraphModule({}, graph)
        weights = [attribute(self.module, str(table.target)) for table in call.tables]
        examples = (*weights, *(_example(one) for one in inputs))
        dynamic = [dynamic_axes(one, self.axes) for one in inputs]
        exported = export_graph(stage, examples, (*[None] * len(weights), *dynamic))
        # The tables travel in the artifact once, as table bytes, not again as an example.
        exported.example_inputs = None
        names = tuple(self.value_name(one) for one in inputs)
        return Stage(part.name, "embedding", exported, names, (self._spec(node),), self._lookup(call))

    def _lookup(self, call: LookupCall) -> Lookup:
        tables = [self.program.tables[str(table.target)].name for table in call.tables]
        weights = [self.value_name(one) for one in call.weights] or [None] * len(call.values)
        lengths = [None if one is None else self.value_name(one) for one in call.lengths]
        sources = tuple(
            Source(self.value_name(values), length, weight, columns)
            for values, length, weight, columns in zip(call.values, lengths, weights, call.columns, strict=True)
        )
        rows = zip(call.feature_source, call.feature_row, call.feature_table, call.feature_size, strict=True)
        features = tuple(Feature(s, r, tables[t], size) for s, r, t, size in rows)
        return Lookup(sources, features, POOLINGS[call.pooling])


def _placeholders_first(graph: Graph) -> None:
    body = next(node for node in graph.nodes if node.op != "placeholder")
    for node in list(graph.nodes):
        if node.op == "placeholder":
            body.prepend(node)


def _example(node: Node) -> torch.Tensor:
    value = node.meta["val"]
    sizes = [size.node.hint if isinstance(size, torch.SymInt) else size for size in value.shape]
    if None in sizes:
        raise ValueError(
            f"{named(node)} would have to cross between stages, and its size {list(value.shape)} depends on the data; "
            "reorder or filter ids before they are sent, not in the model"
        )
    return torch.zeros(sizes, dtype=value.dtype)


def _axis_name(size: int | torch.SymInt, axes: dict[sympy.Expr, sympy.Symbol]) -> int | str:
    """A size as the manifest writes it: 32, "candidate", or an expression such as "5*candidate"."""
    if not isinstance(size, torch.SymInt):
        return size
    named = str(size.node.expr.subs(axes))
    return CANDIDATE if named == CANDIDATE else named
