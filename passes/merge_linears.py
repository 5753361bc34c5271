"""MergeLinears: two linear layers with nothing between them become one, where that is less work."""

from __future__ import annotations

from torch.fx import GraphModule

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.linears import Linear, linear_of, put_linear
from recpile.passes.rewrite import drop_weights, weight_names
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import come_from


class MergeLinears(Pass):
    """The second layer takes the first one's input, and has the product of their weights.

    before:  linear(linear(x, a, p), b, q)      in * hidden + hidden * out multiplications a row
    after:   linear(x, b @ a, b @ p + q)        in * out multiplications a row

    Declined where it would be as much work or more (a bottleneck, such as the low-rank kernels of DCN-v2), and where
    something else reads the first layer's result or a weight. The product is computed in float64 and rounded once.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        weights = weight_names(module)
        notes, declined, changed = [], {}, True
        while changed:  # what was merged may be merged again, with the layer in front of it
            changed, declined = False, {}
            for first, second in _pairs(module):
                subject = f"{first.node.name}, {second.node.name}"
                if reason := _against(first, second):
                    declined[subject] = reason
                    continue
                notes.append(self.did(subject, f"one layer: {_work(first, second)}"))
                _merge(module, first, second)
                changed = True
                break
        notes_declined = [self.declined(subject, reason) for subject, reason in declined.items()]
        if not notes:
            return PassResult(program.with_notes(*notes_declined), changed=False)
        drop_weights(module, weights)
        return PassResult(recaptured(program, module).with_notes(*notes, *notes_declined), changed=True)


def _pairs(module: GraphModule) -> list[tuple[Linear, Linear]]:
    layers = {node: layer for node in module.graph.nodes if (layer := linear_of(module, node))}
    return [(layers[one.given], one) for one in layers.values() if one.given in layers]


def _against(first: Linear, second: Linear) -> str:
    """Why two layers must stay two; empty if they need not."""
    if len(first.node.users) > 1:
        return f"'{first.node.name}' is read by others too"
    if not (first.owned and second.owned):
        return "another layer has the same weights"
    if first.inputs * second.outputs >= first.outputs * (first.inputs + second.outputs):
        return f"merging is not less work: {_work(first, second)}"
    return ""


def _work(first: Linear, second: Linear) -> str:
    now = first.outputs * (first.inputs + second.outputs)
    return f"{first.inputs * second.outputs:,} multiplications a row for {now:,}"


def _merge(module: GraphModule, first: Linear, second: Linear) -> None:
    weight = second.weight.double() @ first.weight.double()
    bias = None
    if first.bias is not None or second.bias is not None:
        bias = second.weight.double() @ first.bias64() + second.bias64()
    come_from(put_linear(module, second, first.given, weight, bias), first.node, second.node)
    module.graph.erase_node(first.node)
