"""FoldBatchNorm: a batch norm in eval mode becomes part of the layer in front of it."""

from __future__ import annotations

import operator

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import DENSE_DTYPES
from recpile.passes.graph import attribute, editable, recaptured
from recpile.passes.rewrite import add_weight, arguments, drop_weights, read_by_others, weight_names
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import come_from

_aten = torch.ops.aten
_NORM = _aten._native_batch_norm_legit_no_training.default
_LAYERS = (_aten.linear.default, _aten.conv1d.default, _aten.conv2d.default, _aten.conv3d.default)
_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


class FoldBatchNorm(Pass):
    """The norm's scale and shift go into the weight and bias of the linear layer or convolution that it reads.

    before:  batch_norm(linear(x, w, b), gamma, beta, mean, var)
    after:   linear(x, s * w, s * (b - mean) + beta)              where s = gamma / sqrt(var + eps)

    Declined where something else reads the layer's result or its weights, and for layers that will run in bf16: there a
    norm beside the layer is faster in small batches (docs/fusions.md). Computed in float64 and rounded once.
    """

    def __init__(self, dense_dtype: str = "fp32") -> None:
        if dense_dtype not in DENSE_DTYPES:
            raise ValueError(f"dense dtype: got '{dense_dtype}'; use one of {', '.join(DENSE_DTYPES)}")
        self.dense_dtype = dense_dtype

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        weights = weight_names(module)
        notes = []
        for node in list(module.graph.nodes):
            if node.target is not _NORM:
                continue
            reason = _against(node)
            if not reason and self.dense_dtype != "fp32":
                reason = f"costs less beside a {self.dense_dtype} layer than in it, in small batches"
            if reason:
                notes.append(self.declined(node.name, reason))
                continue
            notes.append(self.did(node.name, f"is part of '{node.all_input_nodes[0].name}'"))
            _fold(module, node)
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        drop_weights(module, weights)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _against(norm: Node) -> str:
    """Why a norm must stay; empty if it need not."""
    given = arguments(norm)
    layer = given["input"]
    if layer.target not in _LAYERS:
        return f"reads '{layer.name}', which is no layer"
    if layer.target is _aten.linear.default and layer.meta["val"].ndim > 2:
        return f"normalizes axis 1 of '{layer.name}', not its columns"
    if len(layer.users) > 1:
        return f"'{layer.name}' is read by others too"
    own = [arguments(layer)[name] for name in ("weight", "bias")]
    weights = [one for one in (*own, *(given[name] for name in _PARAMETERS)) if one is not None]
    if any(one.op != "get_attr" for one in weights):
        return "has weights that are computed"
    if read_by_others(layer, [one for one in own if one is not None]):
        return f"the weights of '{layer.name}' are read by others too"
    if any(user.target is not operator.getitem or user.args[1] != 0 for user in norm.users):
        return "is asked for its statistics"
    return ""


def _fold(module: GraphModule, norm: Node) -> None:
    given = arguments(norm)
    layer = given["input"]

    def value(node: Node | None, otherwise: float = 0.0) -> Tensor:
        if node is None:
            return torch.tensor(otherwise, dtype=torch.float64)
        return attribute(module, str(node.target)).detach().double()

    weight, bias = (value(arguments(layer)[name]) for name in ("weight", "bias"))
    gamma, beta, mean, var = (value(given[name], name == "weight") for name in _PARAMETERS)
    scale = gamma / (var + given["eps"]).sqrt()
    folded = {"weight": weight * scale.view(-1, *[1] * (weight.ndim - 1)), "bias": beta + scale * (bias - mean)}
    dtype = layer.meta["val"].dtype
    new = [add_weight(module, layer, f"{layer.name}_{name}", one.to(dtype)) for name, one in folded.items()]
    layer.args = (layer.args[0], *new, *layer.args[3:])
    come_from(layer, layer, norm)
    for part in list(norm.users):
        part.replace_all_uses_with(layer)
        module.graph.erase_node(part)
    module.graph.erase_node(norm)
