"""Linear layers as passes see them: the node with the values of its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.dense_precision import LAYERS
from recpile.passes.graph import attribute
from recpile.passes.rewrite import add_weight, arguments, call, read_by_others

_aten = torch.ops.aten
LINEAR = _aten.linear.default


@dataclass(frozen=True)
class Linear:
    """A linear layer: weight [outputs, inputs], bias [outputs] or None."""

    node: Node
    given: Node
    weight: Tensor
    bias: Tensor | None
    owned: bool  # nothing else reads its weights

    @property
    def inputs(self) -> int:
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    def bias64(self) -> Tensor:
        """The bias in float64; zeros if there is none."""
        zeros = torch.zeros(self.outputs, dtype=torch.float64)
        return zeros if self.bias is None else self.bias.double()


def linear_of(module: GraphModule, node: Node) -> Linear | None:
    """The layer that `node` is; None for anything else, and for a layer whose weights are computed."""
    if node.target is not LINEAR:
        return None
    given = arguments(node)
    weights = [one for one in (given["weight"], given["bias"]) if one is not None]
    if any(one.op != "get_attr" for one in weights):
        return None
    values = [attribute(module, str(one.target)).detach() for one in weights]
    bias = values[1] if len(values) > 1 else None
    return Linear(node, given["input"], values[0], bias, owned=not read_by_others(node, weights))


def put_linear(module: GraphModule, layer: Linear, given: Node, weight: Tensor, bias: Tensor | None) -> Node:
    """A new layer over `given` in place of `layer`; float64 weights are rounded once, to the type that it had."""
    values = (weight, bias) if bias is not None else (weight,)
    weights = [
        add_weight(module, layer.node, f"{layer.node.name}_{name}", value.to(layer.weight.dtype))
        for name, value in zip(("weight", "bias"), values, strict=False)
    ]
    new = call(layer.node, LINEAR, given, *weights)
    layer.node.replace_all_uses_with(new)
    module.graph.erase_node(layer.node)
    return new


def last_layers(ends: Iterable[Node]) -> set[Node]:
    """The layers from which one of `ends` is reached without another: in front of a model's outputs they stay fp32."""
    found: set[Node] = set()
    seen: set[Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.target in LAYERS:
            found.add(node)
        else:
            waiting.extend(node.all_input_nodes)
    return found
