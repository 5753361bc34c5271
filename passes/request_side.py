"""Finds what a captured graph computes of requests alone, though it computes it for every candidate."""

from __future__ import annotations

import operator

import torch
from torch.fx import GraphModule, Node

from recpile.passes.branches import is_size
from recpile.passes.graph import EMBEDDING_BAGS, LookupCall
from recpile.passes.rewrite import constants, evaluate
from recpile.passes.row_axis import RowAxis, possible_axes
from recpile.passes.row_wise import RowWise, call_of, row_wise
from recpile.pycompiler.operators import NONE
from recpile.pycompiler.request_axis import PAD_BAGS, REPEAT_BAGS
from recpile.pycompiler.source_lines import named

aten = torch.ops.aten
REPEAT_ROWS = aten.index_select.default
RESHAPES = (
    *(aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints),
    aten.unflatten.int,
)


class RequestSide:
    """The nodes of a graph that are those of requests with every request's part repeated for its candidates.

    rows: tensors, and where their rows lie; of an operator with several results, `operator.getitem` has them.
    bags: jagged ids, or rows of them, and the request's lengths that they go with.
    same: those of `rows` that are equal for all candidates: zeros to begin with, positions, a learned first row.
    products: FLOPs of products a row. mixed: why an operator over request rows is left to the candidates.
    """

    def __init__(self, module: GraphModule, candidate_to_request: Node) -> None:
        self.map = candidate_to_request
        self.batch = candidate_to_request.meta["val"].shape[0].node.expr
        self.rows: dict[Node, RowAxis] = {}
        self.bags: dict[Node, Node] = {}
        self.same: set[Node] = set()
        self.products: dict[Node, int] = {}
        self.mixed: dict[Node, str] = {}
        self._several: dict[Node, dict[object, RowAxis]] = {}
        self._module = module
        self._constants = constants(module)
        self._values: dict[Node, object] = {}
        self._tried: dict[str, RowWise | None] = {}
        for node in module.graph.nodes:
            if node.op == "call_function" and node not in self._constants and not is_size(node):
                self._see(node)

    def __contains__(self, node: object) -> bool:
        return node in self.rows or node in self.bags or node in self._several

    def repeats(self, node: Node) -> bool:
        """Whether `node` is the repetition itself, for candidates, of what a request has."""
        return node.target in (REPEAT_ROWS, REPEAT_BAGS) and node.args[2] is self.map

    def _see(self, node: Node) -> None:
        read = [one for one in node.all_input_nodes if one not in self._constants and not is_size(one)]
        if self.repeats(node) and node.target is REPEAT_ROWS:
            rank = node.meta["val"].ndim
            self.rows[node] = RowAxis(int(node.args[1]) % rank)  # type: ignore[arg-type]
        elif self.repeats(node):
            self.bags[node] = _unshaped(node.args[1])
        elif node.target is operator.getitem:
            axis = self._several.get(read[0], {}).get(node.args[1])
            if axis is not None:
                self.rows[node] = axis
        elif node.target is EMBEDDING_BAGS:
            self._lookup(node, LookupCall.of(node))
        elif node.target is PAD_BAGS:
            if self._go_together(node.args[0], node.args[1]):
                self.rows[node] = RowAxis()
        elif any(one in self.bags for one in read):
            self._on_ids(node, read)
        elif all(one in self.rows for one in read):
            self._on_rows(node, read)
        if node in self and read and all(one in self.same for one in read):
            self.same.add(node)

    def _lookup(self, node: Node, call: LookupCall) -> None:
        outer, ids = 1, None
        for values, lengths, columns in zip(call.values, call.lengths, call.columns, strict=True):
            if lengths is not None:
                known = self._go_together(values, lengths)
            elif values in self.bags:  # looked up id by id
                known, ids = columns == 1 and len(call.values) == 1, self.bags[values]
            else:
                known = values in self.rows and self.rows[values].axis == 0
                outer = self.rows[values].outer if known else 1
            if not known:
                return
        if any(one not in self for one in call.weights):
            return
        if call.pooling == NONE and call.lengths[0] is not None:
            ids = self.bags[call.values[0]]
        if ids is not None:
            self.bags[node] = ids
            return
        shapes = [one for one in possible_axes(node.meta["val"], self.batch, ()) if (one.axis, one.outer) == (0, outer)]
        if shapes and all(self.rows[one].outer == outer for one in call.values if one in self.rows):
            self.rows[node] = shapes[0]

    def _go_together(self, values: object, lengths: object) -> bool:
        """Whether these ids and these lengths were repeated together."""
        if values not in self.bags or lengths not in self.rows:
            return False
        repeated = _unshaped(lengths)
        return self.repeats(repeated) and _unshaped(repeated.args[0]) is self.bags[values]  # type: ignore[index]

    def _on_ids(self, node: Node, read: list[Node]) -> None:
        """An operator on ids one by one: hashing, casts."""
        pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
        if len(read) == 1 and (pointwise or node.target in (aten.to.dtype, aten._to_copy.default)):
            self.bags[node] = self.bags[read[0]]

    def _on_rows(self, node: Node, read: list[Node]) -> None:
        values = node.meta.get("val")
        rows = {one: self.rows[one] for one in read}
        call = call_of(node, rows)
        if call not in self._tried:
            self._tried[call] = row_wise(node, rows, self.batch, self._constant)
        found = self._tried[call]
        if found is None:
            if values is not None and any(one not in self.same for one in read):
                self.mixed[node] = f"{named(node)} is not known to keep requests apart: it runs for every candidate"
            return
        self.products[node] = found.flops
        if isinstance(values, (list, tuple)):
            self._several[node] = {i: axis for i, axis in enumerate(found.axes) if axis is not None}
        elif found.axes[0] is not None:
            self.rows[node] = found.axes[0]
        if not read:
            self.same.add(node)

    def _constant(self, node: Node) -> torch.Tensor:
        return evaluate(self._module, node, self._values)


def _unshaped(node: object) -> Node:
    """What a reshaped value is made of."""
    assert isinstance(node, Node)
    while node.target in RESHAPES and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
