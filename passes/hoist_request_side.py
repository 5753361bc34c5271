"""HoistRequestSide: what depends on the request alone is computed once a request, not once a candidate."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from recpile.passes.base import Pass, PassResult
from recpile.passes.branches import is_size
from recpile.passes.graph import EMBEDDING_BAGS, LookupCall, editable, recaptured
from recpile.passes.request_cost import RequestCost
from recpile.passes.request_side import REPEAT_ROWS, RESHAPES, RequestSide
from recpile.passes.request_sizes import forget_sizes
from recpile.pycompiler.program import Program
from recpile.pycompiler.request_axis import REPEAT_BAGS
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST, REQUEST
from recpile.pycompiler.source_lines import come_from, named

aten = torch.ops.aten
# They cost nothing for candidates either, and may be larger, or have their rows in odd places: what is repeated is
# what they view.
_VIEWS = (
    *RESHAPES,
    *(aten.expand.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims),
    *(aten.transpose.int, aten.permute.default, aten.t.default, aten.alias.default),
)


class HoistRequestSide(Pass):
    """Moves the repetition of request rows down, through row-wise operators and lookups, to where candidates join in.

    before:  u = relu(linear(index_select(user[R, 8], 0, map), W));   score = bmm(u, candidate[B, …])
    after:   u = index_select(relu(linear(user[R, 8], W)), 0, map);   score = bmm(u, candidate[B, …])

    `map` [B] says which request a candidate is of; the runtime supplies it. Jagged inputs of a request must be looked
    up or padded: their repetition has no operator that a stage could run.
    """

    def run(self, program: Program) -> PassResult:
        if not program.schema.has_requests:
            return PassResult(program.with_notes(self.declined("inputs", "none is on the request axis")), changed=False)
        module = editable(program.graph)
        hoist = _Hoist(module, program)
        hoist.move()
        forget_sizes(module)
        left = next((node for node in module.graph.nodes if node.target is REPEAT_BAGS and node.users), None)
        if left is not None:
            reader = next(iter(left.users))
            raise ValueError(
                f"{named(reader)} reads ids of the request-axis input '{hoist.name(left)}' in a way that cannot be "
                "done once a request; look them up or pad them first, or put the input on the axis 'candidate'"
            )
        notes = [self.declined(node.name, why) for node, why in hoist.side.mixed.items()]
        if not hoist.cost.operators:
            notes.append(self.declined("request side", "is computed once already"))
            return PassResult(program.with_notes(*notes), changed=False)
        notes.append(self.did("request side", hoist.cost.described()))
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


class _Hoist:
    def __init__(self, module: GraphModule, program: Program) -> None:
        self.graph = module.graph
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        self.first = placeholders[-1].next
        specs = program.schema.graph_tensors()
        self.names = {node: spec.name for node, spec in zip(placeholders, specs, strict=True)}
        by_name = {name: node for node, name in self.names.items()}
        sized = next(spec for spec in specs if REQUEST in spec.shape)
        self.requests = (by_name[sized.name], sized.shape.index(REQUEST))
        self.side = RequestSide(module, by_name[CANDIDATE_TO_REQUEST])
        self.made: dict[Node, Node] = {}  # a node of the request side -> what it is for requests
        self.repeated: dict[
            Node, Node
        ] = {}  # what a node is for requests -> its repetition, where a candidate reads it
        self.sizes: dict[int, Node] = {}
        self.cost = RequestCost(program.schema.candidates)

    def name(self, repeat: Node) -> str:
        return next((self.names[one] for one in repeat.all_input_nodes if one in self.names), repeat.name)

    def move(self) -> None:
        nodes = list(self.graph.nodes)
        hoisted, kept = self._wanted(nodes)
        for node in nodes:
            if node in hoisted:
                self.made[node] = self._made(node)
            if node in kept or node not in self.side:
                for one in node.all_input_nodes:
                    if one in self.side.rows and one not in kept and one not in self.side.same:
                        node.replace_input_with(one, self._repeat(one, node))
        for node in reversed(nodes):
            if node in self.side and not node.users:
                self.graph.erase_node(node)  # by name: elimination keeps what may draw random numbers, as a GRU

    def _wanted(self, nodes: list[Node]) -> tuple[set[Node], set[Node]]:
        """What requests compute: all that leads to what candidates read. And the views that candidates read of it,
        which stay with them."""
        side, hoisted, kept = self.side, set[Node](), set[Node]()
        for node in reversed(nodes):
            if node in kept or node not in side:
                read = {one for one in node.all_input_nodes if one in side.rows and one not in side.same}
                kept |= {one for one in read if one.target in _VIEWS}
                hoisted |= read - kept
            if node in hoisted and not side.repeats(node):
                hoisted |= {one for one in node.all_input_nodes if one in side}
        return hoisted, kept

    def _made(self, node: Node) -> Node:
        side = self.side
        if side.repeats(node):
            source = node.args[0]
            assert isinstance(source, Node)
            if node.target is REPEAT_ROWS:
                self.repeated[source] = node
            return source
        if node.target is EMBEDDING_BAGS:
            return self._lookup(node)
        if node.target in RESHAPES:
            return self._reshaped(node)
        if node not in side.same and node in side.products and node.target not in _VIEWS:
            self.cost.add(node, side.rows.get(node), side.products[node])
        args, kwargs = map_arg((node.args, node.kwargs), self._for_requests)
        if node.target is aten.expand.default and node.args[0] in side.rows:
            args = (args[0], _sizes(node), *args[2:])
        return self._insert(node, node.target, args, kwargs)

    def _lookup(self, node: Node) -> Node:
        call = LookupCall.of(node)
        call.lengths = [one and self.made[one] for one in call.lengths]
        call.values = [self.made[one] for one in call.values]
        call.weights = [self.made[one] for one in call.weights]
        if node not in self.side.same:
            self.cost.add_lookup(len(call.feature_table))
        return self._insert(node, EMBEDDING_BAGS, call.args(), {})

    def _reshaped(self, node: Node) -> Node:
        """To the same sizes, but for the rows, which are what is left."""
        source = node.args[0]
        assert isinstance(source, Node)
        return self._insert(node, aten.reshape.default, (self.made[source], _sizes(node)), {})

    def _for_requests(self, node: Node) -> Node:
        """An argument as an operator of requests has it; weights are on both sides."""
        return self._size(node) if is_size(node) else self.made.get(node, node)

    def _size(self, node: Node) -> Node:
        """So many times the requests as `node` is the candidates; another number is left."""
        size = node.meta["val"]
        times = size.node.expr / self.side.batch if isinstance(size, torch.SymInt) else None
        if times is None or not times.is_Integer:
            return node
        if int(times) not in self.sizes:
            made = self._insert(self.first, aten.sym_size.int, self.requests, {})
            made = made if times == 1 else self._insert(self.first, operator.mul, (made, int(times)), {})
            self.sizes[int(times)] = made
        return self.sizes[int(times)]

    def _repeat(self, one: Node, reader: Node) -> Node:
        source, axis = self.made[one], self.side.rows[one]
        if source not in self.repeated:
            made, at, sizes = source, axis.axis, _sizes(one)
            if axis.merged:
                split = [*sizes[:at], axis.outer, -1, axis.inner, *sizes[at + 1 :]]
                made = self._insert(reader, aten.reshape.default, (made, split), {})
            made = self._insert(reader, REPEAT_ROWS, (made, at + axis.merged, self.side.map), {})
            self.repeated[source] = (
                self._insert(reader, aten.reshape.default, (made, sizes), {}) if axis.merged else made
            )
        return self.repeated[source]

    def _insert(self, before: Node, target: Any, args: tuple, kwargs: dict) -> Node:
        with self.graph.inserting_before(before):
            made = self.graph.call_function(target, args, kwargs)
        come_from(made, before)
        return made


def _sizes(node: Node) -> list[int]:
    """The sizes of a value, -1 for the axis of its rows: for a reshape or an expansion what is left, or as it was."""
    return [-1 if isinstance(size, torch.SymInt) else size for size in node.meta["val"].shape]
