"""Why a captured graph does not answer as its model does: the operator or the line to blame, and the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils._pytree import tree_leaves

from recpile.pycompiler.capture import capture
from recpile.pycompiler.debugging.operators import source_near
from recpile.pycompiler.decisions import watch_decisions
from recpile.pycompiler.left_behind import watch_left_behind
from recpile.pycompiler.parity.first_operator import first_operator, run_eager, run_program
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import eager
from recpile.pycompiler.schema import InputSchema
from recpile.pycompiler.source_lines import named

_STATE = (
    "A model that draws random numbers, reads a clock, or keeps state between calls, does that: take it out, or do it "
    "under self.training only"
)
_BRANCH = (
    "Compute without the branch (sums over nothing are 0, and torch.repeat_interleave takes output_size), or choose "
    "with torch.where"
)


def why_parted(
    model: nn.Module, schema: InputSchema, captured: Program, flat: Mapping[str, Tensor], fails: bool = False
) -> str:
    """Of a captured graph that differs from its model on the inputs `flat`, or `fails`: sentences without the last full
    stop. Captures the model again, to watch it."""
    with watch_decisions() as decisions, watch_left_behind(model) as left:
        again = capture(model, schema, captured.name)
        eager(model, schema, flat)
    if changed := _another_number(captured, again):
        return f"At {changed} the graph holds another number each time it is captured. {_STATE}"
    branches = dict.fromkeys(one.source for one in decisions if one.source and one.kind != "guard")
    if branches:
        lines = "\n  ".join(branches)
        return f"It branches on sizes, and the graph holds the side taken in the trace:\n  {lines}\n{_BRANCH}"
    if left:
        lines = "\n  ".join(f"'{name}': {line}" for name, line in left.items())
        return f"Its forward sets attributes, which the graph does not:\n  {lines}\n{_STATE}"
    if fails:
        return f"The graph asks this of a size that only the data has. {_BRANCH}"
    return f"{_first_operator(model, schema, captured, flat)}{_STATE}. {_BRANCH}"


def told_failure(error: Exception, program: Program) -> str:
    """What the run of a captured graph raised, in a line: of a size that torch requires, with the lines behind it."""
    said = str(error).splitlines()[0]
    failed = re.search(r"on node '(\w+)'", said)
    nodes = {node.name: node for node in program.graph.graph.nodes}
    lines = dict.fromkeys(filter(None, map(source_near, _behind(nodes.get(failed[1]))))) if failed else {}
    return f"{said}, of {next(iter(lines))}" if lines else said


def _behind(node: Node | None) -> list[Node]:
    """The node, and what it is computed of, nearest first."""
    found = [node] if node is not None else []
    for one in found:
        found += [behind for behind in one.all_input_nodes if behind not in found and len(found) < 20]
    return found


def _another_number(captured: Program, again: Program) -> str:
    """The first operator of a graph that takes another number, or another constant, than the same one of the other."""
    for one, other in zip(captured.graph.graph.nodes, again.graph.graph.nodes, strict=False):
        if one.op == "call_function" and one.target is other.target and _numbers(one) != _numbers(other):
            return named(one)
    for name, value in captured.graph.constants.items():
        other = again.graph.constants.get(name)
        if isinstance(value, Tensor) and isinstance(other, Tensor) and not _same(value, other):
            return next(map(named, _readers(captured, name)), f"constant '{name}'")
    return ""


def _numbers(node: Node) -> list[object]:
    return [one for one in tree_leaves((node.args, node.kwargs)) if isinstance(one, (bool, int, float))]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _readers(program: Program, constant: str) -> list[Node]:
    names = {
        placeholder
        for placeholder, target in program.graph.graph_signature.inputs_to_lifted_tensor_constants.items()
        if target == constant
    }
    return [user for node in program.graph.graph.nodes if node.name in names for user in node.users]


def _first_operator(model: nn.Module, schema: InputSchema, captured: Program, flat: Mapping[str, Tensor]) -> str:
    try:
        first = first_operator(run_eager(lambda: eager(model, schema, flat)), run_program(captured, flat))
    except (IndexError, RuntimeError):  # the graph, or a model that is in the middle of what it keeps
        return ""
    at = f" ({first.got.source})" if first and first.got.source else ""
    return f"They part at {first.got.operator} '{first.got.name}'{at}. " if first else ""
