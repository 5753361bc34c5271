"""QuantizeDense: runs linear layers of compiled stages in int8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import INT8, INT8_STATIC, DensePrecision, layer_name, precision_of
from recpile.passes.graph import editable
from recpile.passes.int8_linear import Range, by_row, over_range, range_of, why_not
from recpile.passes.linears import LINEAR, last_layers
from recpile.passes.stage_graph import exported_again
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.run_stages import stage_values
from recpile.pycompiler.schema import TensorSpec
from recpile.pycompiler.source_lines import named

FEWEST_ROWS = 100
_SAMPLES = 1 << 16  # values of a layer's input kept from each batch of calibration rows


class QuantizeDense(Pass):
    """Weights to int8 by output; activations to int8 row by row (`int8`) or over one calibrated range (`int8-static`).

    before:  linear(x, w, b)
    int8:    scale = amax(|x|, 1) / 127;  _int_mm(round(x / scale), w8) * scale * w_scale + b
    static:  qlinear(quantize(x, scale, zero), prepack(w8), …): one oneDNN call, into which a relu and the quantization
             for the next layer are fused

    Row by row, as a scale over the whole batch would make a request's answer depend on its company. The last layer in
    front of each output of the model stays fp32, as in CastDense. Runs after it: what is left in fp32 is int8's.
    """

    def __init__(self, precision: str | DensePrecision = "fp32", calibration: EvalData | None = None) -> None:
        self.precision = DensePrecision(precision) if isinstance(precision, str) else precision
        self.calibration = calibration
        self.exact = not self.precision.types & {INT8, INT8_STATIC}
        if INT8_STATIC in self.precision.types and calibration is None:
            raise ValueError(
                f"dense dtype {INT8_STATIC} needs calibration rows, to see how large a layer's inputs become; give "
                f"--calibration FILE, or use {INT8}, which needs none"
            )
        if INT8_STATIC in self.precision.types and calibration is not None and len(calibration.labels) < FEWEST_ROWS:
            raise ValueError(
                f"dense dtype {INT8_STATIC}: {calibration.name} has {len(calibration.labels)} rows; give at least "
                f"{FEWEST_ROWS}, as what goes beyond the values that they show is cut off; or use {INT8}"
            )

    def run(self, program: Program) -> PassResult:
        if self.exact:
            return PassResult(
                program.with_notes(self.declined("dense stages", "int8 was not asked for")), changed=False
            )
        stages, notes = [], []
        specs = program.value_specs()
        for stage in program.stages:
            quantized, reasons = stage, {}
            wanted = {one.name: self.precision.of(stage.name, one.name) for one in stage.layers if one.dtype == "fp32"}
            wanted = {name: dtype for name, dtype in wanted.items() if dtype in (INT8, INT8_STATIC)}
            if stage.kind == "compiled" and wanted:
                module = editable(stage.graph)
                nodes = _layers(stage, module, wanted, program.outputs, reasons)
                if nodes:
                    inputs = self._seen(program, stage, [n for n in nodes if wanted[layer_name(n)] == INT8_STATIC])
                    quantized = _quantized(stage, module, nodes, inputs, wanted, specs)
                    notes.append(self.did(stage.name, f"{len(nodes)} layers in int8"))
            notes += [self.declined(f"{stage.name}: {name}", reason) for name, reason in reasons.items()]
            stages.append(quantized)
        changed = tuple(stages) != program.stages
        return PassResult(replace(program, stages=tuple(stages)).with_notes(*notes), changed=changed)

    def _seen(self, program: Program, stage: Stage, nodes: list[Node]) -> dict[str, Range]:
        """The range of each of these layers' inputs on the calibration rows, by the layer's node."""
        if not nodes:
            return {}
        assert self.calibration is not None
        watch = _Watch(editable(stage.graph), {node.args[0].name for node in nodes if isinstance(node.args[0], Node)})
        with torch.no_grad():
            for values in _values(program, self.calibration):
                watch.run(*(values[name] for name in stage.inputs))
        ranges = {}
        for node in nodes:
            try:
                ranges[node.name] = range_of(torch.cat(watch.seen[str(node.args[0])]))
            except ValueError as error:
                raise ValueError(f"layer '{layer_name(node)}', {named(node)}: {error}") from error
        return ranges


class _Watch(Interpreter):
    """Keeps a sample of what some nodes give."""

    def __init__(self, module: GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def run_node(self, n: Node) -> object:
        given = super().run_node(n)
        if n.name in self.seen:
            assert isinstance(given, Tensor)
            flat = given.detach().float().reshape(-1)
            self.seen[n.name].append(flat[:: max(1, len(flat) // _SAMPLES)])
        return given


def _values(program: Program, data: EvalData) -> Iterator[Mapping[str, Tensor]]:
    for flat in data.batches(program.schema):
        yield stage_values(program, flat)


def _layers(
    stage: Stage, module: GraphModule, wanted: Mapping[str, str], answers: tuple[str, ...], reasons: dict[str, str]
) -> list[Node]:
    """The nodes to quantize; why others that were asked for are not goes into `reasons`."""
    given = module.graph.output_node().args[0]
    assert isinstance(given, (tuple, list))
    pairs = zip(given, stage.outputs, strict=True)
    kept = last_layers([one for one, spec in pairs if isinstance(one, Node) and spec.name in answers])
    found = []
    for node in module.graph.nodes:
        name = layer_name(node) if node.op == "call_function" else ""
        if name not in wanted:
            continue
        reason = "stays fp32 in front of an output" if node in kept else why_not(module, node)
        if not reason:
            found.append(node)
        elif node.target is LINEAR or name == node.name:
            reasons[name] = reason
    return found


def _quantized(
    stage: Stage,
    module: GraphModule,
    nodes: list[Node],
    ranges: Mapping[str, Range],
    wanted: Mapping[str, str],
    specs: Mapping[str, TensorSpec],
) -> Stage:
    made = {layer_name(node): wanted[layer_name(node)] for node in nodes}
    errors = over_range(module, [node for node in nodes if node.name in ranges], ranges)
    errors |= by_row(module, [node for node in nodes if node.name not in ranges])
    layers = tuple(
        replace(one, dtype=made[one.name], bytes=one.bytes // 4, error=errors[one.name]) if one.name in made else one
        for one in stage.layers
    )
    return replace(exported_again(stage, module, specs), layers=layers, precision=precision_of(layers))
