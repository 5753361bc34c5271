"""Dense layers as the search sees them: the types that each may have, and the stages with some of them changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape

from torch.fx import GraphModule

from recpile.passes.branches import product_flops
from recpile.passes.cast_dense import CastDense
from recpile.passes.dense_precision import INT8, INT8_STATIC, LAYERS, DensePrecision, layer_name
from recpile.passes.graph import editable
from recpile.passes.quantize_dense import QuantizeDense
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.program import Layer, Program

# fp16 is left out: it takes as many bytes as bf16, and oneDNN runs it no faster than fp32 on CPUs without AMX-FP16.
SEARCHED = ("fp32", "bf16", INT8, INT8_STATIC)


@dataclass(frozen=True)
class SearchedLayer:
    """A layer, its types from the largest to the smallest, each as the pass makes it, and its FLOPs a row."""

    types: Mapping[str, Layer]
    flops: int


class Layers:
    """The layers of `program`, whose stages are in fp32 and know of smaller types (passes up to the split).

    With `products`, products of activations too: they have no bytes to save, but time."""

    def __init__(self, program: Program, calibration: EvalData, products: bool = False) -> None:
        self.program, self.calibration = program, calibration
        self.searched: dict[str, SearchedLayer] = {}
        made = {dtype: self._layers(self.apply(DensePrecision(dtype))) for dtype in SEARCHED}
        flops = _flops(program)
        for name in made["fp32"]:
            types = {dtype: layers[name] for dtype, layers in made.items() if layers[name].dtype == dtype}
            if len(types) > 1 and (products or made["fp32"][name].bytes):
                self.searched[name] = SearchedLayer(types, flops[name])

    def apply(self, precision: DensePrecision) -> Program:
        return QuantizeDense(precision, self.calibration).run(CastDense(precision).run(self.program).program).program

    def code(self, chosen: Mapping[str, str]) -> dict[str, GraphModule]:
        """The stages that differ with these layers in these types, ready to run."""
        stages = self.apply(precision_of(chosen)).stages
        pairs = zip(self.program.stages, stages, strict=True)
        return {new.name: editable(new.graph) for old, new in pairs if new is not old}

    @staticmethod
    def _layers(program: Program) -> dict[str, Layer]:
        return {layer.name: layer for stage in program.stages for layer in stage.layers}


def precision_of(chosen: Mapping[str, str]) -> DensePrecision:
    """Rules that say these types of these layers, fp32 of all others."""
    return DensePrecision("fp32", tuple((escape(name), dtype) for name, dtype in chosen.items() if dtype != "fp32"))


def _flops(program: Program) -> dict[str, int]:
    """A row's, by layer. Sizes are those of the captured example batch."""
    found: dict[str, int] = {}
    for stage in program.stages:
        for node in editable(stage.graph).graph.nodes if stage.kind == "compiled" else ():
            if node.op == "call_function" and node.target in LAYERS:
                size = node.meta["val"].shape[0]
                rows = size if isinstance(size, int) else int(size.node.hint)
                name = layer_name(node)
                found[name] = found.get(name, 0) + product_flops(node) // max(rows, 1)
    return found
