"""CastDense: runs the layers of compiled stages in bf16."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import add_buffer, attribute, axis_symbols, drop_unused_weights, dynamic_axes, editable
from recpile.pycompiler.capture import export_graph
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.schema import DTYPE_NAMES, TensorSpec
from recpile.pycompiler.source_lines import named

DENSE_DTYPES = ("fp32", "bf16")

_aten = torch.ops.aten
_LAYERS = (_aten.linear.default, _aten.addmm.default, _aten.mm.default, _aten.bmm.default, _aten.matmul.default)


@dataclass(frozen=True)
class DensePrecision:
    """A type for every compiled stage: the first rule whose glob matches the stage's name, else `default`."""

    default: str = "fp32"
    rules: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for got in (self.default, *(dtype for _, dtype in self.rules)):
            if got not in DENSE_DTYPES:
                raise ValueError(f"dense dtype: got '{got}'; use one of {', '.join(DENSE_DTYPES)}")

    @property
    def lowest(self) -> str:
        """ "bf16" if any stage may be."""
        return "bf16" if "bf16" in (self.default, *(dtype for _, dtype in self.rules)) else "fp32"

    def of(self, stage: str) -> str:
        return next((dtype for glob, dtype in self.rules if fnmatchcase(stage, glob)), self.default)


class CastDense(Pass):
    """Casts what flows into a stage's layers, and their weights, to bf16; the last layer in front of each output of the
    model stays fp32.

    before:  relu = relu(linear(x, w0));  logit = linear(relu, w1);  sigmoid(logit)
    after:   relu = relu(linear(x.to(bf16), w0_bf16));  logit = linear(relu.to(fp32), w1);  sigmoid(logit)

    The last layer is a few columns wide, so it costs little in fp32, and a bf16 logit has 8 bits: scores would tie, and
    ties cost AUC.
    """

    def __init__(self, precision: str | DensePrecision = "fp32") -> None:
        self.precision = DensePrecision(precision) if isinstance(precision, str) else precision
        self.exact = self.precision.lowest == "fp32"

    def run(self, program: Program) -> PassResult:
        names = [stage.name for stage in program.stages if stage.kind == "compiled"]
        for glob, _ in self.precision.rules:
            if not any(fnmatchcase(name, glob) for name in names):
                raise ValueError(f"dense dtype rule '{glob}' matches no stage; the stages are {', '.join(names)}")
        if self.exact:
            return PassResult(program.with_notes(self.declined("dense stages", "fp32 was asked for")), changed=False)
        stages, notes = [], []
        specs = program.value_specs()
        for stage in program.stages:
            stages.append(stage)
            if stage.kind != "compiled":
                continue
            if self.precision.of(stage.name) == "fp32":
                notes.append(self.declined(stage.name, "fp32 was asked for"))
                continue
            if stage.precision == "bf16":
                notes.append(self.declined(stage.name, "is bf16 already"))
                continue
            cast, layers = _cast(stage, specs, program.outputs)
            if layers == 0:
                notes.append(self.declined(stage.name, "has no layer in front of its outputs' last ones"))
                continue
            stages[-1] = cast
            notes.append(self.did(stage.name, f"{layers} layers in bf16"))
        changed = tuple(stages) != program.stages
        return PassResult(replace(program, stages=tuple(stages)).with_notes(*notes), changed=changed)


def _cast(stage: Stage, specs: Mapping[str, TensorSpec], answers: Sequence[str]) -> tuple[Stage, int]:
    """The stage with casts, and how many of its layers they cover. `specs`: every value's; `answers`: the values that
    are the model's outputs."""
    module = editable(stage.graph)
    given = module.graph.output_node().args[0]
    assert isinstance(given, (tuple, list))
    pairs = zip(given, stage.outputs, strict=True)
    ends = [one for one, spec in pairs if isinstance(one, Node) and spec.name in answers]
    kept = _last_layers(module, ends)
    lowered: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "call_function" and node not in kept and _is_fp32(node) and _follows(node, lowered):
            lowered.add(node)
    layers = sum(node.target in _LAYERS for node in lowered)
    if layers == 0:
        return stage, 0
    for node in module.graph.nodes:
        if node.op in ("call_function", "output"):
            _cast_inputs(module, node, lowered)
    module.graph.lint()
    module.recompile()
    assert stage.graph.example_inputs is not None
    inputs, _ = stage.graph.example_inputs
    drop_unused_weights(module)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    axes = axis_symbols(placeholders, [specs[name] for name in stage.inputs])
    dynamic = [dynamic_axes(node, axes) for node in placeholders]
    graph = export_graph(module, inputs, tuple(dynamic))
    _check_layers(graph, stage.name)
    return replace(stage, graph=graph, precision="bf16"), layers


def _follows(node: Node, lowered: set[Node]) -> bool:
    """A layer, or what reads a lowered value. Not what comes before the first layer: features are normalized in fp32.

    An operator that fixes its type in the model's code keeps it, and the parts of a tuple have the tuple's.
    """
    if node.target is operator.getitem:
        return node.args[0] in lowered
    if any(isinstance(one, torch.dtype) for one in (*node.args, *node.kwargs.values())):
        return False
    return node.target in _LAYERS or any(one in lowered for one in node.all_input_nodes)


def _last_layers(module: GraphModule, ends: list[Node]) -> set[Node]:
    """From each of `ends` back to its nearest layer, that layer included."""
    kept: set[Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in kept:
            kept.add(node)
            if node.target not in _LAYERS:
                waiting.extend(node.all_input_nodes)
    for node in module.graph.nodes:
        if node.target is operator.getitem and node.args[0] in kept:
            kept.add(node)  # one part of a kept tuple cannot have another type
    return kept


def _cast_inputs(module: GraphModule, node: Node, lowered: set[Node]) -> None:
    """Brings every fp32 input of `node` to the type that `node` works in."""
    target = torch.bfloat16 if node in lowered else torch.float32
    for one in node.all_input_nodes:
        if not _is_fp32(one) or (one in lowered) == (node in lowered) or node.target is operator.getitem:
            continue
        if one.op == "get_attr" and all(user in lowered for user in one.users):
            _cast_weight(module, one, lowered)
            continue
        with module.graph.inserting_before(node):
            cast = module.graph.call_function(_aten.to.dtype, (one, target))
        node.replace_input_with(one, cast)


def _cast_weight(module: GraphModule, weight: Node, lowered: set[Node]) -> None:
    low = f"{weight.target}_bf16"
    add_buffer(module, low, attribute(module, str(weight.target)).detach().to(torch.bfloat16))
    weight.target = low
    lowered.add(weight)


def _is_fp32(node: Node) -> bool:
    """An fp32 tensor, or a tuple of them (what a split gives)."""
    value = node.meta.get("val")
    parts = value if isinstance(value, (tuple, list)) and value else [value]
    return all(isinstance(part, torch.Tensor) and part.dtype == torch.float32 for part in parts)


def _check_layers(graph: ExportedProgram, stage: str) -> None:
    # Tracing lets a layer with inputs of two types pass; running it would fail.
    for node in graph.graph.nodes:
        types = {one.meta["val"].dtype for one in node.all_input_nodes} if node.target in _LAYERS else set()
        if len(types) > 1:
            got = " and ".join(sorted(DTYPE_NAMES[one] for one in types))
            raise ValueError(
                f"stage '{stage}' cannot run in bf16: {named(node)} would get {got} inputs, because an "
                "operator before it fixes its type in the model's code; use --dense-dtype fp32"
            )
