"""FindLookups: nn.Embedding and nn.EmbeddingBag, wherever they stand, become table-batched lookups."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import EMBEDDING_BAGS, LOOKUPS, LookupCall, attribute, editable, recaptured
from recpile.passes.id_sources import IdSource, IdSources, lengths_of
from recpile.pycompiler.operators import POOLINGS
from recpile.pycompiler.program import Note, Program, Table
from recpile.pycompiler.source_lines import come_from

aten = torch.ops.aten
_EMBEDDING = aten.embedding.default
_BAG = aten.embedding_bag.padding_idx
_FOUND = (_EMBEDDING, _BAG)
_SUM = POOLINGS.index("sum")


class FindLookups(Pass):
    """A lookup in a weight, with ids that come from the model's inputs, is a bag of one id; a bag stays one.

    before:  embedding(city: f32[7, 16], x[:, 3]);   embedding_bag(genre: f32[19, 16], ids[B, 5], …, sum)
    after:   embedding_bags([city], [x], columns [C], rows [3], sizes [1], sum);
             embedding_bags([genre], [ids], columns [5], rows [0], sizes [5], sum)

    Columns that the model cuts out of a wider input are looked up where they are, without a copy. A weight that
    something else reads too (tied weights), ids that no input reaches (positions) and max pooling stay as they were.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        search = _Search(self, program, module)
        for node in list(module.graph.nodes):
            if node.target in _FOUND:
                search.convert(node)
        if not search.converted:
            return PassResult(program.with_notes(*search.notes), changed=False)
        found = replace(program, tables=search.tables)
        return PassResult(recaptured(found, module).with_notes(*search.notes), changed=True)


class _Search:
    def __init__(self, one: Pass, program: Program, module: GraphModule) -> None:
        self.one, self.module = one, module
        self.tables = dict(program.tables)
        self.notes: list[Note] = []
        self.converted = False
        self.sources = IdSources(module)
        self.from_inputs = _reached_from_inputs(module)

    def convert(self, node: Node) -> None:
        weight, ids = node.args[0], node.args[1]
        assert isinstance(ids, Node)
        try:
            if not isinstance(weight, Node) or weight.op != "get_attr":
                raise _Declined("its weight is computed in the model")
            self._check_weight(weight, ids)
            made = _embedding(self.sources, node, weight, ids) if node.target is _EMBEDDING else self._bag(node)
        except _Declined as declined:
            self.notes.append(self.one.declined(node.name, f"{declined}; it stays in its dense stage"))
            return
        fqn = str(weight.target)
        table = self.tables.setdefault(fqn, _table(fqn, attribute(self.module, fqn), self.tables))
        _replace(self.module, node, made)
        self.notes.append(self.one.did(node.name, f"looks up table '{table.name}' ({table.rows} rows of {table.dim})"))
        self.converted = True

    def _check_weight(self, weight: Node, ids: Node) -> None:
        if ids not in self.from_inputs:
            raise _Declined("its ids do not come from the model's inputs")
        value = attribute(self.module, str(weight.target))
        if value.dtype != torch.float32:
            raise _Declined(f"its weight '{weight.target}' is {value.dtype}; fp32 weights become tables")
        readers = [user for n in self.module.graph.nodes if n.target == weight.target for user in n.users]
        others = [user for user in readers if user.target not in (*_FOUND, *LOOKUPS)]
        if others:
            raise _Declined(f"its weight '{weight.target}' is read by '{others[0].name}' ({others[0].target}) as well")

    def _bag(self, node: Node) -> _Made:
        weight, ids, offsets, _, mode, _, weights, last, padding = (*node.args, *[None] * 9)[:9]
        if mode not in (0, 1):
            raise _Declined("max pooling has no table-batched kernel")
        self._check_padding(str(weight.target), padding, int(mode))  # type: ignore[union-attr]
        fixed = self.sources.bags(ids, offsets, weights)  # type: ignore[arg-type]
        if fixed is not None:
            call = _call(weight, fixed, int(mode))
        else:
            given = [weights] if weights is not None else []
            lengths = lengths_of(self.module, node, offsets, bool(last), ids)  # type: ignore[arg-type]
            call = LookupCall([weight], [ids], [lengths], given, [0], [0], [0], int(mode), [0], [0])  # type: ignore[list-item]
        first = [user for user in node.users if user.target is operator.getitem and user.args[1] == 0]
        return _Made(call, None, first)

    def _check_padding(self, fqn: str, padding: object, mode: int) -> None:
        if not isinstance(padding, int) or padding < 0:
            return
        zero = not bool(attribute(self.module, fqn)[padding].any())
        if mode != _SUM or not zero:
            why = "is not zero" if mode == _SUM else "would count in the mean"
            raise _Declined(f"row {padding} of '{fqn}' is padding (padding_idx) and {why}")


@dataclass
class _Made:
    """The lookup that replaces a node, the shape to view its result in, and the nodes that stood for the result."""

    call: LookupCall
    shape: list[int] | None
    results: list[Node]


class _Declined(Exception):
    pass


def _embedding(sources: IdSources, node: Node, weight: Node, ids: Node) -> _Made:
    value = ids.meta["val"]
    dynamic = [i for i, size in enumerate(value.shape) if isinstance(size, torch.SymInt)]
    if len(dynamic) > 1:
        raise _Declined(f"its ids have two dynamic sizes, {list(value.shape)}")
    source = sources.cut(ids) or IdSource(ids, 1, 0, 1)
    dim = int(weight.meta["val"].shape[1])
    shape = [-1 if isinstance(size, torch.SymInt) else size for size in value.shape]
    call = LookupCall([weight], [source.base], [None], [], [], [], [], _SUM, [source.columns], [])
    for column in range(source.first, source.first + source.size):  # one id a bag
        call.feature_source.append(0)
        call.feature_row.append(column)
        call.feature_table.append(0)
        call.feature_size.append(1)
    return _Made(call, None if value.ndim == 1 else [*shape, dim], [node])


def _call(weight: object, source: IdSource, mode: int) -> LookupCall:
    assert isinstance(weight, Node)
    weights = [source.weights] if source.weights is not None else []
    columns, size = [source.columns], [source.size]
    return LookupCall([weight], [source.base], [None], weights, [0], [source.first], [0], mode, columns, size)


def _replace(module: GraphModule, node: Node, made: _Made) -> None:
    with module.graph.inserting_before(node):
        result = module.graph.call_function(EMBEDDING_BAGS, made.call.args())
        come_from(result, node)
        if made.shape is not None:
            result = module.graph.call_function(aten.view.default, (result, made.shape))
            come_from(result, node)
    for one in made.results:
        one.replace_all_uses_with(result)


def _table(fqn: str, weight: Tensor, tables: dict[str, Table]) -> Table:
    """Named as the module is: what the capture put around the model, and the parameter's own name, go."""
    name = fqn.removeprefix("model.").removesuffix(".weight")
    if name in {table.name for table in tables.values()}:
        name = f"{name}.weight"
    return Table(name=name, rows=weight.shape[0], dim=weight.shape[1])


def _reached_from_inputs(module: GraphModule) -> set[Node]:
    reached: set[Node] = set()
    for node in module.graph.nodes:
        sizes_only = isinstance(node.meta.get("val"), torch.SymInt)
        if node.op == "placeholder" or (not sizes_only and any(one in reached for one in node.all_input_nodes)):
            reached.add(node)
    return reached
