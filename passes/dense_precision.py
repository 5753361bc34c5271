"""Which type each dense layer gets: said by rules, on the names of layers and stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.graph import attribute
from recpile.pycompiler.program import Layer, Stage, TableError

INT8, INT8_STATIC = "int8", "int8-static"
# int8: weights by output, activations row by row as they come. int8-static: activations over a range that calibration
# rows showed.
DENSE_DTYPES = ("fp32", "bf16", "fp16", INT8, INT8_STATIC)

_aten = torch.ops.aten
# Where a layer has its weight, as [outputs, inputs] or transposed; products of two activations have none.
_WEIGHT_AT: dict[object, int] = {
    _aten.linear.default: 1,
    _aten.addmm.default: 2,
    _aten.mm.default: 1,
    _aten.matmul.default: 1,
}
LAYERS = (*_WEIGHT_AT, _aten.bmm.default)


@dataclass(frozen=True)
class DensePrecision:
    """A type for every layer of compiled stages: of the first rule whose glob matches the layer's name or that of its
    stage, else `default`."""

    default: str = "fp32"
    rules: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for got in (self.default, *(dtype for _, dtype in self.rules)):
            if got not in DENSE_DTYPES:
                raise ValueError(f"dense dtype: got '{got}'; use one of {', '.join(DENSE_DTYPES)}")

    @staticmethod
    def parse(texts: Iterable[str]) -> DensePrecision:
        """From ["bf16", "over*=int8"]: at most one default, and rules by layer or stage. ValueError otherwise."""
        default, rules = None, []
        for text in texts:
            glob, equals, dtype = text.rpartition("=")
            if equals:
                rules.append((glob, dtype))
            elif default is not None:
                raise ValueError(f"dense dtype: got both '{default}' and '{text}' for all layers; use one of them")
            else:
                default = text
        return DensePrecision(default or "fp32", tuple(rules))

    @property
    def types(self) -> set[str]:
        return {self.default, *(dtype for _, dtype in self.rules)}

    @property
    def lowest(self) -> str:
        """ "fp32" if every layer is, else "bf16": what passes before the split reckon with."""
        return "fp32" if self.types == {"fp32"} else "bf16"

    def of(self, stage: str, layer: str = "") -> str:
        names = [name for name in (stage, layer) if name]
        found = (dtype for glob, dtype in self.rules if any(fnmatchcase(name, glob) for name in names))
        return next(found, self.default)

    def check(self, stages: Iterable[Stage]) -> None:
        """ValueError for a rule that matches no layer and no stage."""
        compiled = [stage for stage in stages if stage.kind == "compiled"]
        names = [name for stage in compiled for name in (stage.name, *(layer.name for layer in stage.layers))]
        for glob, _ in self.rules:
            if not any(fnmatchcase(name, glob) for name in names):
                raise ValueError(
                    f"dense dtype rule '{glob}' matches no stage and no layer; there are {', '.join(names)}"
                )


def layer_name(node: Node) -> str:
    """A layer's name in the model, such as "over.0": its weight's; of a product of activations, the node's own."""
    weight = _weight(node)
    if weight is None:
        return node.name
    return weight_of(str(weight.target)) or node.name


def weight_of(fqn: str) -> str:
    """The layer that a weight of that name in a stage belongs to."""
    for suffix in ("_bf16", "_fp16"):  # of a cast weight
        fqn = fqn.removesuffix(suffix)
    return fqn.removeprefix("model.").removesuffix("weight").rstrip("._")


def fp32_layers(module: GraphModule) -> tuple[Layer, ...]:
    """The layers of a stage as they are before anything is made smaller, each name once."""
    found = {}
    for node in module.graph.nodes:
        if node.target in LAYERS:
            weight = _weight(node)
            size = 0 if weight is None else attribute(module, str(weight.target)).nbytes
            found[layer_name(node)] = Layer(layer_name(node), "fp32", size)
    return tuple(found.values())


def rounding(weight: Tensor, rounded: Tensor) -> TableError:
    """How far `rounded`, as values, is from `weight`."""
    apart = (weight.detach().double() - rounded.double()).abs()
    return TableError(float(apart.mean()), float(apart.max())) if apart.numel() else TableError(0.0, 0.0)


def precision_of(layers: Iterable[Layer]) -> str:
    """The type of a stage's layers: "fp32" if all are; of those that are not, their one type, or "mixed"."""
    types = {layer.dtype for layer in layers} - {"fp32"}
    return "fp32" if not types else types.pop() if len(types) == 1 else "mixed"


def _weight(node: Node) -> Node | None:
    place = _WEIGHT_AT.get(node.target)
    weight = node.args[place] if place is not None and len(node.args) > place else None
    return weight if isinstance(weight, Node) and weight.op == "get_attr" else None
