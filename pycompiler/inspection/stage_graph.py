"""A stage's graph as plain JSON: what `recpile inspect` shows without loading the program or a weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from recpile.pycompiler.inspection.axes import Axes, user_inputs
from recpile.pycompiler.inspection.cost import node_cost, stage_cost
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.schema import DTYPE_NAMES, TensorSpec
from recpile.pycompiler.source import SourceLine, source_traces


def describe_stages(program: Program) -> dict[str, dict]:
    """Stage -> its graph and, of a compiled one, its cost. docs/artifact.md has the grammar."""
    specs = program.value_specs()
    return {stage.name: _describe(stage, specs) for stage in program.stages}


def _describe(stage: Stage, specs: Mapping[str, TensorSpec]) -> dict:
    inputs = user_inputs(stage.graph)
    tables = len(inputs) - len(stage.inputs)  # an embedding stage's graph takes its tables first
    names = dict(zip(inputs[tables:], stage.inputs, strict=True))
    shapes = [list(one.meta["val"].shape) for one in inputs[:tables]] + [specs[name].shape for name in stage.inputs]
    axes = Axes(stage.graph, shapes)
    outputs = dict(zip(stage.graph.graph.output_node().args[0], (spec.name for spec in stage.outputs), strict=True))  # type: ignore[arg-type]
    frames: dict[SourceLine, int] = {}
    nodes = []
    for node in stage.graph.graph.nodes:
        if not _tensors(node) or node.op not in ("placeholder", "call_function"):
            continue  # sizes: which shapes say anyway
        told = {
            "name": node.name,
            "op": _operator(node, names, stage),
            "inputs": [one.name for one in node.all_input_nodes if _tensors(one)],
            "outputs": [
                {"dtype": DTYPE_NAMES.get(one.dtype, str(one.dtype)), "shape": [axes.text(size) for size in one.shape]}
                for one in _tensors(node)
            ],
        }
        if node in outputs:
            told["value"] = outputs[node]
        if node.op == "call_function":
            traces = [[frames.setdefault(frame, len(frames)) for frame in one] for one in source_traces(node)]
            told["source"] = traces[0] if traces else []
            if traces[1:]:
                told["more_sources"] = traces[1:]
            if stage.kind == "compiled":
                cost = node_cost(node, axes)
                told |= {"flops": dict(cost.flops), "bytes": dict(cost.bytes)}
        nodes.append(told)
    graph = {"nodes": nodes, "frames": [asdict(frame) for frame in frames]}
    return {"graph": graph, **({"cost": asdict(stage_cost(stage.graph, axes))} if stage.kind == "compiled" else {})}


def _operator(node: Node, names: Mapping[Node, str], stage: Stage) -> str:
    """An operator's name; "input <value>", "weight <name>" or "table <name>" of what flows in."""
    if node.op == "call_function":
        return str(node.target) if hasattr(node.target, "_schema") else getattr(node.target, "__name__", "?")
    if node in names:
        return f"input {names[node]}"
    signature = stage.graph.graph_signature
    for weights in (
        signature.inputs_to_parameters,
        signature.inputs_to_buffers,
        signature.inputs_to_lifted_tensor_constants,
    ):
        if node.name in weights:
            return f"weight {weights[node.name]}"
    tables = list(dict.fromkeys(feature.table for feature in stage.lookup.features)) if stage.lookup else []
    return f"table {tables[user_inputs(stage.graph).index(node)]}" if tables else "constant"


def _tensors(node: Node) -> list[Tensor]:
    return [one for one in tree_leaves(node.meta.get("val")) if isinstance(one, Tensor)]
