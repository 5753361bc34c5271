"""Linear layers written out in int8: activations row by row, or over a range that is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.ao.quantization.fx._decomposed  # registers quantized_decomposed
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.dense_precision import layer_name, rounding
from recpile.passes.linears import Linear, linear_of
from recpile.passes.rewrite import add_weight, call
from recpile.pycompiler import int8_operators  # noqa: F401  # what oneDNN's operators give, for tracing
from recpile.pycompiler.program import TableError

_aten = torch.ops.aten
_quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
_prepack = torch.ops.onednn.qlinear_prepack.default
_qlinear = torch.ops.onednn.qlinear_pointwise.default
_WORTH = 32  # inputs and outputs that a layer needs at least: below, converting costs more than it saves
_SMALLEST = 1e-12  # a scale, where a row is all zeros


@dataclass(frozen=True)
class Range:
    """uint8 codes of an activation: value = (code - zero) * scale. What lies outside saturates."""

    scale: float
    zero: int


def range_of(seen: Tensor) -> Range:
    """The range that holds zero and rounds the values `seen`, fp32 [n], with the least squared error: all of them, or
    the largest cut off (Choukroun et al. 2019, arXiv:1902.06822, search their clipping the same way)."""
    low, high = min(float(seen.min()), 0.0), max(float(seen.max()), 0.0)
    if not torch.isfinite(seen).all():
        raise ValueError("its input is not finite on the calibration rows; look for the cause in model and rows")
    if high == low:
        return Range(1.0, 0)

    def cut(share: float) -> tuple[float, Range]:
        scale = (high - low) * share / 255
        found = Range(scale, round(-low * share / scale))
        codes = (seen / scale).round().add(found.zero).clamp(0, 255)
        return float(((codes - found.zero) * scale - seen).square().mean(dtype=torch.float64)), found

    return min((cut(1 - step / 20) for step in range(15)), key=lambda one: one[0])[1]


def why_not(module: GraphModule, node: Node) -> str:
    """Why a layer cannot be int8, or would not gain; empty if it can be."""
    layer = linear_of(module, node)
    if layer is None:
        return "is no linear layer with a weight of its own: int8 has no kernel for it, it stays fp32"
    if min(layer.inputs, layer.outputs) < _WORTH:
        return f"is {layer.inputs} x {layer.outputs}: below {_WORTH} int8 costs more than it saves, it stays fp32"
    if node.meta["val"].dtype != torch.float32:
        return "is not fp32"
    return ""


def by_row(module: GraphModule, nodes: Sequence[Node]) -> dict[str, TableError]:
    """Each of these layers with a scale for every row of its input; the error of each weight, by layer."""
    errors = {}
    for node in nodes:
        layer = _linear(module, node)
        codes, scales, errors[layer_name(node)] = _weight(layer)
        given, leading = layer.given, None
        if given.meta["val"].dim() != 2:
            leading = [_size(node, given, i) for i in range(given.meta["val"].dim() - 1)]
            given = call(node, _aten.reshape.default, given, [-1, layer.inputs])
        largest = call(node, _aten.amax.default, call(node, _aten.abs.default, given), [1], True)
        scale = call(node, _aten.mul.Tensor, call(node, _aten.clamp_min.default, largest, _SMALLEST), 1 / 127)
        code = call(node, _aten.round.default, call(node, _aten.div.Tensor, given, scale))
        code = call(node, _aten.to.dtype, call(node, _aten.clamp.default, code, -127, 127), torch.int8)
        weight = add_weight(module, node, f"{node.name}_int8", codes.t().contiguous())
        product = call(node, _aten.to.dtype, call(node, _aten._int_mm.default, code, weight), torch.float32)
        value = call(node, _aten.mul.Tensor, product, scale)
        value = call(node, _aten.mul.Tensor, value, add_weight(module, node, f"{node.name}_scale", scales))
        if layer.bias is not None:
            value = call(node, _aten.add.Tensor, value, add_weight(module, node, f"{node.name}_bias", layer.bias))
        if leading is not None:
            value = call(node, _aten.reshape.default, value, [*leading, layer.outputs])
        node.replace_all_uses_with(value)
        module.graph.erase_node(node)
    return errors


def over_range(module: GraphModule, nodes: Sequence[Node], ranges: Mapping[str, Range]) -> dict[str, TableError]:
    """Each of these layers over the range of its input; the error of each weight, by layer. Where one follows another,
    with at most a relu between, codes go from one to the next and nothing is fp32 in between."""
    errors, codes_of = {}, {}
    chosen = set(nodes)
    for node in nodes:
        layer = _linear(module, node)
        weight, scales, errors[layer_name(node)] = _weight(layer)
        of = ranges[node.name]
        key = (layer.given, of)
        if key not in codes_of:
            codes_of[key] = call(node, _quantize, layer.given, of.scale, of.zero, 0, 255, torch.uint8)
        relu = _only_user(node)
        relu = relu if relu is not None and relu.target is _aten.relu.default else None
        end = relu or node
        next_ = [user for user in end.users if user in chosen and user.args[0] is end]
        # All that read the result are such layers, over one range: they take codes.
        to = {ranges[user.name] for user in next_} if len(next_) == len(end.users) else set()
        out = to.pop() if len(to) == 1 else None
        packed = call(node, _prepack, add_weight(module, node, f"{node.name}_int8", weight), None)
        value = call(
            node,
            _qlinear,
            codes_of[key],
            of.scale,
            of.zero,
            packed,
            add_weight(module, node, f"{node.name}_scale", scales),
            add_weight(module, node, f"{node.name}_zero", torch.zeros(layer.outputs, dtype=torch.int32)),
            None if layer.bias is None else add_weight(module, node, f"{node.name}_bias", layer.bias),
            out.scale if out else 1.0,
            out.zero if out else 0,
            torch.uint8 if out else torch.float32,
            "relu" if relu else "none",
            [0.0],  # neither reads it, but torch.export cannot write an empty list of numbers
            "",
        )
        if out:
            codes_of[end, out] = value
        else:
            end.replace_all_uses_with(value)
    # What is left over reads nothing: its readers take codes.
    for node in reversed(nodes):
        relu = _only_user(node)
        if relu is not None and relu.target is _aten.relu.default and not relu.users:
            module.graph.erase_node(relu)
        if not node.users:
            module.graph.erase_node(node)
    return errors


def _weight(layer: Linear) -> tuple[Tensor, Tensor, TableError]:
    """Codes int8 [outputs, inputs], scales fp32 [outputs], and the error: symmetric, a scale for each output."""
    weight = layer.weight.detach()
    scales = (weight.abs().amax(1) / 127).clamp_min(_SMALLEST)
    codes = (weight / scales[:, None]).round().clamp(-127, 127)
    return codes.to(torch.int8), scales, rounding(weight, codes * scales[:, None])


def _linear(module: GraphModule, node: Node) -> Linear:
    layer = linear_of(module, node)
    assert layer is not None
    return layer


def _size(before: Node, tensor: Node, axis: int) -> Node | int:
    size = tensor.meta["val"].shape[axis]
    return size if isinstance(size, int) else call(before, _aten.sym_size.int, tensor, axis)


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
