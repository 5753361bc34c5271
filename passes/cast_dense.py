"""CastDense: runs layers of compiled stages in bf16 or fp16."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import LAYERS, DensePrecision, layer_name, precision_of, rounding, weight_of
from recpile.passes.graph import add_buffer, attribute, editable
from recpile.passes.stage_graph import exported_again
from recpile.pycompiler.program import Layer, Program, Stage
from recpile.pycompiler.schema import DTYPE_NAMES, TensorSpec
from recpile.pycompiler.source_lines import come_from, named, traces_of

_CASTS = {"bf16": torch.bfloat16, "fp16": torch.float16}

_aten = torch.ops.aten


class CastDense(Pass):
    """Casts what flows into layers, and their weights, to bf16 or fp16, as the precision says; the last layer in front
    of each output of the model stays fp32.

    before:  relu = relu(linear(x, w0));  logit = linear(relu, w1);  sigmoid(logit)
    after:   relu = relu(linear(x.to(bf16), w0_bf16));  logit = linear(relu.to(fp32), w1);  sigmoid(logit)

    The last layer is a few columns wide, so it costs little in fp32, and a bf16 logit has 8 bits: scores would tie, and
    ties cost AUC.
    """

    def __init__(self, precision: str | DensePrecision = "fp32") -> None:
        self.precision = DensePrecision(precision) if isinstance(precision, str) else precision
        self.exact = not self.precision.types & _CASTS.keys()

    def run(self, program: Program) -> PassResult:
        self.precision.check(program.stages)
        if self.precision.types == {"fp32"}:
            return PassResult(program.with_notes(self.declined("dense stages", "fp32 was asked for")), changed=False)
        stages, notes = [], []
        specs = program.value_specs()
        for stage in program.stages:
            cast = stage
            for dtype in _CASTS if stage.kind == "compiled" else ():
                before, (cast, reason) = cast, _cast(cast, specs, program.outputs, dtype, self.precision)
                if cast is not before:
                    notes.append(self.did(stage.name, reason))
                elif reason:
                    notes.append(self.declined(stage.name, reason))
            stages.append(cast)
        changed = tuple(stages) != program.stages
        return PassResult(replace(program, stages=tuple(stages)).with_notes(*notes), changed=changed)


def _cast(
    stage: Stage, specs: Mapping[str, TensorSpec], answers: Sequence[str], dtype: str, precision: DensePrecision
) -> tuple[Stage, str]:
    """The stage with its layers of that type cast, and how many; or the stage, and why none is. `specs`: every value's;
    `answers`: the values that are the model's outputs."""
    module = editable(stage.graph)
    wanted = {layer.name: layer for layer in stage.layers if precision.of(stage.name, layer.name) == dtype}
    if not wanted:
        return stage, ""
    asked = {node for node in module.graph.nodes if node.target in LAYERS and layer_name(node) in wanted}
    given = module.graph.output_node().args[0]
    assert isinstance(given, (tuple, list))
    pairs = zip(given, stage.outputs, strict=True)
    ends = [one for one, spec in pairs if isinstance(one, Node) and spec.name in answers]
    kept = _last_layers(module, ends)
    lowered: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "call_function" and node not in kept and _is_fp32(node) and _follows(node, lowered, asked):
            lowered.add(node)
    names = {layer_name(node) for node in lowered & asked}
    if not names:
        done = any(layer.dtype == dtype for layer in wanted.values())
        return stage, f"is {dtype} already" if done else "has no layer in front of its outputs' last ones"
    weights = dict(module.named_parameters()) | dict(module.named_buffers())
    for node in module.graph.nodes:
        if node.op in ("call_function", "output"):
            _cast_inputs(module, node, lowered, _CASTS[dtype])
    cast = exported_again(stage, module, specs)
    _check_layers(cast.graph, stage.name, dtype)
    layers = tuple(_smaller(one, dtype, weights) if one.name in names else one for one in stage.layers)
    made = replace(cast, layers=layers, precision=precision_of(layers))
    return made, f"{len(lowered & asked)} layers in {dtype}"


def _smaller(layer: Layer, dtype: str, weights: Mapping[str, Tensor]) -> Layer:
    weight = next((value for name, value in weights.items() if weight_of(name) == layer.name), None)
    if weight is None:
        return replace(layer, dtype=dtype)
    return Layer(layer.name, dtype, layer.bytes // 2, rounding(weight, weight.detach().to(_CASTS[dtype])))


def _follows(node: Node, lowered: set[Node], asked: set[Node]) -> bool:
    """A layer that is asked for, or what reads a lowered value and is no layer. Not what comes before the first layer:
    features are normalized in fp32.

    An operator that fixes its type in the model's code keeps it, and the parts of a tuple have the tuple's.
    """
    if node.target is operator.getitem:
        return node.args[0] in lowered
    if any(isinstance(one, torch.dtype) for one in (*node.args, *node.kwargs.values())):
        return False
    return node in asked or (node.target not in LAYERS and any(one in lowered for one in node.all_input_nodes))


def _last_layers(module: GraphModule, ends: list[Node]) -> set[Node]:
    """From each of `ends` back to its nearest layer, that layer included."""
    kept: set[Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in kept:
            kept.add(node)
            if node.target not in LAYERS:
                waiting.extend(node.all_input_nodes)
    for node in module.graph.nodes:
        if node.target is operator.getitem and node.args[0] in kept:
            kept.add(node)  # one part of a kept tuple cannot have another type
    return kept


def _cast_inputs(module: GraphModule, node: Node, lowered: set[Node], low: torch.dtype) -> None:
    """Brings every fp32 input of `node` to the type that `node` works in."""
    target = low if node in lowered else torch.float32
    for one in node.all_input_nodes:
        if not _is_fp32(one) or (one in lowered) == (node in lowered) or node.target is operator.getitem:
            continue
        if one.op == "get_attr" and all(user in lowered for user in one.users):
            _cast_weight(module, one, lowered, low)
            continue
        with module.graph.inserting_before(node):
            cast = module.graph.call_function(_aten.to.dtype, (one, target))
        come_from(cast, one if traces_of(one) else node)
        node.replace_input_with(one, cast)


def _cast_weight(module: GraphModule, weight: Node, lowered: set[Node], low: torch.dtype) -> None:
    name = f"{weight.target}_{DTYPE_NAMES[low]}"
    add_buffer(module, name, attribute(module, str(weight.target)).detach().to(low))
    weight.target = name
    lowered.add(weight)


def _is_fp32(node: Node) -> bool:
    """An fp32 tensor, or a tuple of them (what a split gives)."""
    value = node.meta.get("val")
    parts = value if isinstance(value, (tuple, list)) and value else [value]
    return all(isinstance(part, torch.Tensor) and part.dtype == torch.float32 for part in parts)


def _check_layers(graph: ExportedProgram, stage: str, dtype: str) -> None:
    # Tracing lets a layer with inputs of two types pass; running it would fail.
    for node in graph.graph.nodes:
        types = {one.meta["val"].dtype for one in node.all_input_nodes} if node.target in LAYERS else set()
        if len(types) > 1:
            got = " and ".join(sorted(DTYPE_NAMES[one] for one in types))
            raise ValueError(
                f"stage '{stage}' cannot run in {dtype}: {named(node)} would get {got} inputs, because an "
                "operator before it fixes its type in the model's code; use --dense-dtype fp32"
            )
