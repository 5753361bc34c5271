"""Finds the operators by which one candidate's score may depend on the others of its batch."""

from __future__ import annotations

import operator

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from recpile.pycompiler.schema import CANDIDATE, InputSchema
from recpile.pycompiler.source_lines import named

# Of these the argument `dim` says the axis along which elements meet.
_ALONG = (
    *("softmax", "log_softmax", "cumsum", "cumprod", "sort", "argsort", "flip", "roll", "topk", "var", "std"),
    *("logsumexp", "gather", "index_select", "index_add", "index_copy", "scatter", "scatter_add", "scatter_reduce"),
)
_INDEXED = ("index", "index_put")  # a list of indices, one an axis
_ARITHMETIC = ("add", "sub", "mul", "div", "pow")
_MOST_NAMED = 5


def mixing_operators(graph: ExportedProgram, schema: InputSchema) -> str:
    """The captured graph's suspects, one a line as "operator 'name' (file:line: source)"; "" if there are none."""
    batch, ids = _symbols(graph, schema, CANDIDATE), _symbols(graph, schema, ".nnz")
    found = dict.fromkeys(
        named(node) for node in graph.graph.nodes if _mixes(node, batch) or _mixes_ids(node, ids, batch)
    )
    return "".join(f"\n  {one}" for one in list(found)[:_MOST_NAMED])


def _mixes(node: Node, batch: set[str]) -> bool:
    value = _value(node)
    if node.op != "call_function" or node.target is operator.getitem or not isinstance(value, torch.Tensor):
        return False
    name = str(node.target).split(".")[1] if "." in str(node.target) else ""
    if name.startswith("arange"):
        return _axis(value, batch) is not None
    if name in _ARITHMETIC and any(str(_value(one)) in batch for one in node.all_input_nodes):
        return True  # with the number of rows
    given = [one for one in map(_value, node.all_input_nodes) if isinstance(one, torch.Tensor)]
    axes = [axis for axis in (_axis(one, batch) for one in given) if axis is not None]
    if not axes:
        return False
    if _axis(value, batch) is None:
        return True  # the axis is summed, averaged or picked away
    if _count(value, batch) > max(_count(one, batch) for one in given):
        return True  # rows against rows
    if name in _INDEXED and axes and _axis(given[0], batch) is not None:
        indices = list(node.args[1])  # type: ignore[arg-type]
        return axes[0] < len(indices) and indices[axes[0]] is not None
    if "scaled_dot_product" in name:
        return axes[0] == given[0].ndim - 2  # rows are its sequence
    if name.lstrip("_") in _ALONG:
        return any(dim % max(1, given[0].ndim) == axes[0] for dim in _dims(node))
    return False


def _mixes_ids(node: Node, ids: set[str], batch: set[str]) -> bool:
    """Whether the ids of all bags meet: their axis is gone, and there is none of rows in its place."""
    if node.op != "call_function" or not isinstance(value := _value(node), torch.Tensor):
        return False
    given = [one for one in map(_value, node.all_input_nodes) if isinstance(one, torch.Tensor)]
    return _axis(value, ids | batch) is None and any(_axis(one, ids) is not None for one in given)


def _dims(node: Node) -> list[int]:
    """The axes along which an operator works: its argument `dim` or `dims`, given or by default."""
    assert isinstance(node.target, torch._ops.OpOverload)
    for i, argument in enumerate(node.target._schema.arguments):
        if argument.name in ("dim", "dims"):
            by_default = argument.default_value if argument.has_default_value() else None
            dims = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, by_default)
            return [one for one in (dims if isinstance(dims, (list, tuple)) else [dims]) if isinstance(one, int)]
    return []


def _value(node: Node) -> object:
    """What a node gives; of one that gives several, the first."""
    value = node.meta.get("val")
    return value[0] if isinstance(value, (tuple, list)) and value else value


def _axis(value: torch.Tensor, batch: set[str]) -> int | None:
    return next((i for i, size in enumerate(value.shape) if str(size) in batch), None)


def _count(value: torch.Tensor, batch: set[str]) -> int:
    return sum(str(size) in batch for size in value.shape)


def _symbols(graph: ExportedProgram, schema: InputSchema, axis: str) -> set[str]:
    """The sizes in the graph of the inputs' axes whose names end so."""
    nodes = {node.name: node for node in graph.graph.nodes}
    inputs = [nodes[str(name)].meta["val"] for name in graph.graph_signature.user_inputs]
    return {
        str(size)
        for spec, value in zip(schema.tensors(), inputs, strict=False)
        for one, size in zip(spec.shape, value.shape, strict=True)
        if isinstance(one, str) and one.endswith(axis)
    }
