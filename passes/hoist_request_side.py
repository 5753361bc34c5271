"""HoistRequestSide: what depends on the request alone is computed once a request, not once a candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.branches import is_size
from recpile.passes.graph import EMBEDDING_BAGS, LookupCall, editable, recaptured
from recpile.passes.request_cost import RequestCost
from recpile.passes.request_sizes import forget_sizes
from recpile.passes.row_wise import RESHAPES, is_row_wise, rows_a_request, unshaped
from recpile.passes.turned_layers import layer_first
from recpile.pycompiler.operators import NONE
from recpile.pycompiler.program import Program
from recpile.pycompiler.request_axis import PAD_BAGS, REPEAT_BAGS
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST
from recpile.pycompiler.source_lines import named

aten = torch.ops.aten
_REPEAT = aten.index_select.default


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
        hoist.walk()
        forget_sizes(module)
        left = next((node for node in module.graph.nodes if node.target is REPEAT_BAGS and node.users), None)
        if left is not None:
            reader = next(iter(left.users))
            raise ValueError(
                f"{named(reader)} reads ids of the request-axis input '{hoist.name(left)}' in a way that cannot be "
                "done once a request; look them up or pad them first, or put the input on the axis 'candidate'"
            )
        if not hoist.moved:
            return PassResult(program.with_notes(self.declined("request side", "is computed once already")), False)
        notes = [self.did("request side", hoist.cost.described())]
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


@dataclass(frozen=True)
class _Rows:
    """A value of the candidate side is `node`, a value of the request side, with its rows repeated: `rows` a
    request."""

    node: Node
    rows: int = 1


@dataclass(frozen=True)
class _Bags:
    """Ids (or rows of them) of the candidate side are those of `values` with the bags of `lengths` repeated."""

    values: Node
    lengths: Node


class _Hoist:
    def __init__(self, module: GraphModule, program: Program) -> None:
        self.module, self.graph = module, module.graph
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        specs = program.schema.graph_tensors()
        self.names = {node: spec.name for node, spec in zip(placeholders, specs, strict=True)}
        self.map = next(node for node, name in self.names.items() if name == CANDIDATE_TO_REQUEST)
        self.batch = self.map.meta["val"].shape[0].node.expr
        self.rows: dict[Node, _Rows] = {}
        self.lengths: dict[Node, Node] = {}  # [F, B] or [B] -> [F, R] or [R]
        self.bags: dict[Node, _Bags] = {}
        self.repeated: dict[Node, Node] = {}  # hoisted value -> its repetition, where a candidate reads it
        self.variable: set[Node] = set()  # depends on the model's inputs
        self.cost = RequestCost(program.schema.candidates)
        self.moved = False

    def name(self, repeat: Node) -> str:
        return next((self.names[one] for one in repeat.all_input_nodes if one in self.names), repeat.name)

    def walk(self) -> None:
        for node in list(self.graph.nodes):
            for one in (*layer_first(node, self.rows.__contains__), node):
                self._visit(one)

    def _visit(self, node: Node) -> None:
        if node.op == "placeholder" or any(one in self.variable for one in node.all_input_nodes):
            self.variable.add(node)
        if node.op == "output" or (node.op == "call_function" and node in self.variable and not self._hoisted(node)):
            self._materialize(node)

    def _hoisted(self, node: Node) -> bool:
        args = node.args
        if node.target is _REPEAT and args[2] is self.map:
            source = args[0]
            assert isinstance(source, Node)
            rank = source.meta["val"].ndim
            if args[1] in (-1, rank - 1):
                self.lengths[node] = source
            if args[1] == 0 or rank == 1:
                self.rows[node] = _Rows(source)
                self.repeated[source] = node
            return True
        if node.target is REPEAT_BAGS and args[2] is self.map:
            self.bags[node] = _Bags(args[0], args[1])  # type: ignore[arg-type]
            return True
        if node.target is EMBEDDING_BAGS:
            return self._lookup(node)
        if node.target is PAD_BAGS:
            return self._padding(node)
        if node.target in RESHAPES and args[0] in self.lengths:
            self._lengths_of_keys(node)
        if any(one in self.bags for one in node.all_input_nodes):
            return self._on_ids(node)
        return self._on_rows(node)

    def _lengths_of_keys(self, node: Node) -> None:
        """lengths [B] seen as [1, B], as a lookup wants them."""
        sizes = node.meta["val"].shape
        if isinstance(sizes[-1], torch.SymInt) and sizes[-1].node.expr == self.batch:
            source = self.lengths[node.args[0]]  # type: ignore[index]
            self.lengths[node] = self._insert(node, aten.reshape.default, (source, [*sizes[:-1], -1]))

    def _lookup(self, node: Node) -> bool:
        call = LookupCall.of(node)
        rows = 1
        for values, lengths, columns in zip(call.values, call.lengths, call.columns, strict=True):
            if lengths is not None:
                known = self._are_of(values, lengths)
            elif values in self.bags:  # looked up id by id
                known = columns == 1 and len(call.values) == 1
            else:
                known = values in self.rows
                rows = rows_a_request(node, self.batch) or 0
            if not known or rows == 0:
                return False
        if any(one not in self.bags and one not in self.rows for one in call.weights):
            return False
        single = call.values[0]
        call.lengths = [one and self.lengths[one] for one in call.lengths]
        call.values = [self._before(one) for one in call.values]
        call.weights = [self._before(one) for one in call.weights]
        made = self._insert(node, EMBEDDING_BAGS, call.args())
        if call.pooling == NONE or (call.lengths[0] is None and single in self.bags):
            self.bags[node] = _Bags(made, self.bags[single].lengths)
        else:
            self.rows[node] = _Rows(made, rows)
        self.cost.add_lookup(len(call.feature_table))
        return True

    def _are_of(self, values: Node, lengths: Node) -> bool:
        """Whether these ids and lengths were repeated together."""
        if values not in self.bags or lengths not in self.lengths:
            return False
        return unshaped(self.bags[values].lengths) is unshaped(self.lengths[lengths])

    def _padding(self, node: Node) -> bool:
        values, lengths, *rest = node.args
        assert isinstance(values, Node)
        assert isinstance(lengths, Node)
        if not self._are_of(values, lengths):
            return False
        padded = (self.bags[values].values, self.lengths[lengths], *rest)
        self.rows[node] = _Rows(self._insert(node, PAD_BAGS, padded))
        return True

    def _on_ids(self, node: Node) -> bool:
        """An operator on ids one by one: hashing, casts."""
        (first, *others) = [one for one in node.all_input_nodes if one in self.variable]
        pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
        if others or not (pointwise or node.target in (aten.to.dtype, aten._to_copy.default)):
            return False
        self.bags[node] = _Bags(self._copy(node, self._before), self.bags[first].lengths)
        return True

    def _on_rows(self, node: Node) -> bool:
        inputs = [one for one in node.all_input_nodes if one in self.variable and not is_size(one)]
        if not inputs or any(one not in self.rows for one in inputs) or is_size(node):
            return False
        if len({self.rows[one].rows for one in inputs}) != 1:
            return False
        if not is_row_wise(node, lambda one: isinstance(one, Node) and one in self.rows):
            return False
        rows = rows_a_request(node, self.batch)
        if rows is None:
            return False
        made = self._reshaped(node) if node.target in RESHAPES else self._copy(node, self._before)
        self.rows[node] = _Rows(made, rows)
        self.cost.add(node)
        return True

    def _before(self, node: Node) -> Node:
        """The value of the request side behind one of the candidate side; weights are on both."""
        if node in self.bags:
            return self.bags[node].values
        return self.rows[node].node if node in self.rows else node

    def _copy(self, node: Node, of: Callable[[Node], Node]) -> Node:
        if node.target is aten.expand.default:
            sizes = [-1, *node.args[1][1:]]  # type: ignore[index, misc]
            return self._insert(node, node.target, (of(node.args[0]), sizes))  # type: ignore[arg-type]
        with self.graph.inserting_before(node):
            copied = self.graph.node_copy(node, of)
        self.moved = True
        return copied

    def _reshaped(self, node: Node) -> Node:
        source = node.args[0]
        assert isinstance(source, Node)
        return self._insert(node, aten.reshape.default, (self._before(source), [-1, *node.meta["val"].shape[1:]]))

    def _insert(self, before: Node, target: Callable, args: tuple) -> Node:
        with self.graph.inserting_before(before):
            made = self.graph.call_function(target, args)
        made.meta = {"stack_trace": before.meta.get("stack_trace")}
        self.moved = True
        return made

    def _materialize(self, node: Node) -> None:
        """`node` is of candidates: what it reads of the request side is repeated for it."""
        for one in node.all_input_nodes:
            if one in self.rows and not isinstance(one.meta.get("val"), (list, tuple)):
                node.replace_input_with(one, self._repeat(one, node))

    def _repeat(self, one: Node, reader: Node) -> Node:
        source = self.rows[one]
        if source.node not in self.repeated:
            made = source.node
            shape = list(one.meta["val"].shape[1:])
            if source.rows > 1:
                made = self._insert(reader, aten.reshape.default, (made, [-1, source.rows, *shape]))
            made = self._insert(reader, _REPEAT, (made, 0, self.map))
            if source.rows > 1:
                made = self._insert(reader, aten.reshape.default, (made, [-1, *shape]))
            self.repeated[source.node] = made
        return self.repeated[source.node]
