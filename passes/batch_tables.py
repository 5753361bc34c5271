"""BatchTables: as few table-batched lookups as pooling, weights and batch axes allow."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.tools_common import legalize_graph

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import EMBEDDING_BAGS, LookupCall, editable, lookups, recaptured
from recpile.pycompiler.operators import NONE, POOLINGS
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import come_from


class BatchTables(Pass):
    """Merges lookups that pool alike, over the same batch axis, neither needing the other's result.

    before:  a = embedding_bags([t0], [v0], [l0], …, sum);  b = embedding_bags([t1], [v1], [l1], …, sum)
    after:   ab = embedding_bags([t0, t1], [v0, v1], [l0, l1], …, sum);  a = ab[:, :d0];  b = ab[:, d0:]

    A table or a source that several lookups share appears once.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        notes = []
        changed = False
        # One group at a time: lookups that need nothing of each other may do so through what was merged before.
        while group := next((one for one in _groups(module) if len(one) > 1), None):
            tables = len({table.target for _, call in group for table in call.tables})
            names = ", ".join(node.name for node, _ in group)
            _merge(module, group, list(program.tables))
            legalize_graph(module)
            notes.append(self.did(names, f"one lookup of {tables} tables, {_describe(group[0][1])}"))
            changed = True
        if not changed:
            for ((node, call),) in _groups(module):
                notes.append(self.declined(node.name, f"is the only lookup that is {_describe(call)}"))
            return PassResult(program.with_notes(*notes), changed=False)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


Group = list[tuple[Node, LookupCall]]


def _describe(call: LookupCall) -> str:
    if call.pooling == NONE:
        return "unpooled"
    return f"{POOLINGS[call.pooling]}-pooled, {'weighted' if call.weights else 'unweighted'}"


def _groups(module: GraphModule) -> list[Group]:
    groups: dict[tuple, list[Group]] = {}
    for node, call in lookups(module):
        if node.target is not EMBEDDING_BAGS:
            continue
        # Unpooled lookups stand alone: each gives as many rows as its own input has ids.
        alone = node if call.pooling == NONE else None
        key = (call.pooling, bool(call.weights), str(node.meta["val"].shape[0]), alone)
        ancestors = _ancestors(node)
        open_groups = groups.setdefault(key, [])
        fitting = next((g for g in open_groups if not any(member in ancestors for member, _ in g)), None)
        if fitting is None:
            open_groups.append([(node, call)])
        else:
            fitting.append((node, call))
    return [group for alike in groups.values() for group in alike]


def _ancestors(node: Node) -> set[Node]:
    seen: set[Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting.extend(one.all_input_nodes)
    return seen


def _merge(module: GraphModule, group: Group, order: list[str]) -> None:
    """One lookup for all of `group`; `order` is the program's order of tables, which a lookup's features follow."""
    merged = LookupCall([], [], [], [], [], [], [], group[0][1].pooling, [], [])
    tables: dict[str, int] = {}
    sources: dict[tuple, int] = {}
    features = [(node, call, f) for node, call in group for f in range(len(call.feature_table))]
    features.sort(key=lambda one: order.index(str(one[1].tables[one[1].feature_table[one[2]]].target)))
    columns: dict[tuple[Node, int], tuple[int, int]] = {}  # where a feature of a call ends up in the merged result
    end = 0
    for node, call, f in features:
        source, table = call.feature_source[f], call.tables[call.feature_table[f]]
        weights = [call.weights[source]] if call.weights else []
        parts = (call.values[source], call.lengths[source], call.columns[source], *weights)
        if parts not in sources:
            sources[parts] = len(sources)
            merged.values.append(call.values[source])
            merged.lengths.append(call.lengths[source])
            merged.columns.append(call.columns[source])
            merged.weights.extend(weights)
        if str(table.target) not in tables:
            tables[str(table.target)] = len(tables)
            merged.tables.append(table)
        merged.feature_source.append(sources[parts])
        merged.feature_row.append(call.feature_row[f])
        merged.feature_size.append(call.feature_size[f])
        merged.feature_table.append(tables[str(table.target)])
        start, end = end, end + call.widths()[f]
        columns[node, f] = (start, end)
    with module.graph.inserting_after(group[-1][0]):
        whole = module.graph.call_function(EMBEDDING_BAGS, merged.args())
        whole.meta = {"val": group[0][0].meta["val"]}  # for _groups, which asks for its batch only
        come_from(whole, *(node for node, _ in group))
    for node, call in group:
        _replace(module, node, whole, [columns[node, f] for f in range(len(call.feature_table))])


def _replace(module: GraphModule, node: Node, whole: Node, columns: list[tuple[int, int]]) -> None:
    """`node` becomes those columns of `whole`; neighbours are cut out in one piece."""
    spans = [columns[0]]
    for start, end in columns[1:]:
        if start == spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    at = whole
    pieces = []
    for start, end in spans:
        with module.graph.inserting_after(at):
            at = module.graph.call_function(torch.ops.aten.slice.Tensor, (whole, 1, start, end))
        come_from(at, node)
        pieces.append(at)
    if len(pieces) > 1:
        with module.graph.inserting_after(at):
            at = module.graph.call_function(torch.ops.aten.cat.default, (pieces, 1))
        come_from(at, node)
    node.replace_all_uses_with(at)
    module.graph.erase_node(node)
