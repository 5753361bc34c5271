"""A stage whose graph a pass has edited, captured anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.fx import GraphModule, Node

from recpile.passes.graph import axis_symbols, drop_unused_weights, dynamic_axes
from recpile.pycompiler.capture import export_graph
from recpile.pycompiler.program import Stage
from recpile.pycompiler.schema import TensorSpec


def exported_again(stage: Stage, module: GraphModule, specs: Mapping[str, TensorSpec]) -> Stage:
    """`stage` with the graph of the edited `module`. `specs`: every value's; the stage's inputs have their types."""
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    drop_unused_weights(module)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    tables = len(placeholders) - len(stage.inputs)  # an embedding stage takes them first
    inputs = placeholders[tables:]
    axes = axis_symbols(inputs, [specs[name] for name in stage.inputs])
    dynamic = [*[None] * tables, *(dynamic_axes(node, axes) for node in inputs)]
    given = [None] * tables + [specs.get(name) for name in stage.inputs]
    examples = [_example(node, spec) for node, spec in zip(placeholders, given, strict=True)]
    graph = export_graph(module, tuple(examples), tuple(dynamic))
    if stage.lookup is not None:
        graph.example_inputs = None  # as SplitStages left it
    return replace(stage, graph=graph)


def _example(node: Node, spec: TensorSpec | None) -> torch.Tensor:
    value = node.meta["val"]
    sizes = [size.node.hint if isinstance(size, torch.SymInt) else size for size in value.shape]
    return torch.zeros(sizes, dtype=spec.dtype if spec else value.dtype)
