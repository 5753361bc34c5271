"""Where two runs of a model part: the first operator whose result only one of them has.

Two forms of one model need not have the same operators, as a pass may have merged or replaced some. So runs are
compared by values: an operator agrees if the other run computed its result anywhere. The search goes from the outputs
backward through what does not agree, and ends at the first operator whose inputs all do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recpile.pycompiler.debugging.operators import GraphRunner, OperatorCall
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.program import Program
from recpile.pycompiler.source_lines import source_of_caller


@dataclass(frozen=True)
class Run:
    """What one form of a model computed: its operators in the order in which they ran, and the model's outputs."""

    calls: list[OperatorCall] = field(default_factory=list)
    outputs: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class FirstOperator:
    """The operator, and what of the other run stands for it, if anything does."""

    got: OperatorCall
    wanted: OperatorCall | None


def first_operator(wanted: Run, got: Run) -> FirstOperator | None:
    """The first operator of `got` that parts from `wanted`; None if all outputs agree, or a difference has no operator
    (an output that is a weight or an input)."""
    known = _Values(wanted)
    made = {id(output): i for i, call in enumerate(got.calls) for output in call.outputs}
    pairs = zip(wanted.outputs, got.outputs, strict=True)
    waiting = [made[id(output)] for other, output in pairs if not _equal(other, output) and id(output) in made]
    seen: set[int] = set()
    first: list[int] = []
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        behind = {made[id(one)] for one in got.calls[at].inputs.values() if id(one) in made} - {at}
        parted = [one for one in behind if not known.has(got.calls[one])]
        waiting += parted
        if not parted:
            first.append(at)
    return FirstOperator(got.calls[min(first)], known.counterpart(got.calls[min(first)])) if first else None


def run_program(program: Program, flat: Mapping[str, Tensor]) -> Run:
    """A program operator by operator: by its stages if it is split, else by its graph."""
    calls: list[OperatorCall] = []
    if not program.stages:
        names = [spec.name for spec in program.schema.graph_tensors()]
        given = GraphRunner(program.graph, "the graph").run([{name: flat[name] for name in names}], calls.append)
        return Run(calls, tuple(given))
    weights = {**program.graph.state_dict, **program.graph.constants}
    tables = {table.name: weights[fqn] for fqn, table in program.tables.items()}
    values = dict(flat)
    for stage in program.stages:
        used = list(dict.fromkeys(f.table for f in stage.lookup.features)) if stage.lookup else []
        given = GraphRunner(stage.graph, stage.name).run(
            [*(tables[t] for t in used), *(values[name] for name in stage.inputs)], calls.append
        )
        values.update({spec.name: value for spec, value in zip(stage.outputs, given, strict=True)})
    return Run(calls, tuple(values[name] for name in program.outputs))


def run_eager(answer: Callable[[], tuple[Tensor, ...]]) -> Run:
    """What `answer` computes, operator by operator as PyTorch dispatches them."""
    calls: list[OperatorCall] = []
    with _Recorded(calls):
        outputs = answer()
    return Run(calls, outputs)


class _Recorded(TorchDispatchMode):
    def __init__(self, calls: list[OperatorCall]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        outputs = tuple(one for one in tree_leaves(result) if isinstance(one, Tensor))
        read = {str(i): one for i, one in enumerate(tree_leaves((args, kwargs))) if isinstance(one, Tensor)}
        name = str(len(self.calls))
        self.calls.append(OperatorCall("eager", name, str(func), source_of_caller(), read, outputs, 0.0))
        return result


class _Values:
    """The tensors of a run, to be found by what they hold."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.by_size: dict[int, list[Tensor]] = {}
        for call in run.calls:
            for one in (*call.inputs.values(), *call.outputs):
                self.by_size.setdefault(one.numel(), []).append(one)

    def has(self, call: OperatorCall) -> bool:
        return all(any(_equal(other, one) for other in self.by_size.get(one.numel(), ())) for one in call.outputs)

    def counterpart(self, call: OperatorCall) -> OperatorCall | None:
        """The operator of this run with the same name and operator; else the last of the same line and size."""
        size = [one.numel() for one in call.outputs]
        alike = [one for one in self.run.calls if [output.numel() for output in one.outputs] == size]
        same = [one for one in alike if (one.name, one.operator) == (call.name, call.operator)]
        line = [one for one in alike if one.source and one.source == call.source]
        return (same or line or [None])[-1]


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype.is_complex or other.dtype.is_complex:
        return one.shape == other.shape and bool(torch.equal(one, other))
    apart, allowed = difference_of([one], [other])
    return apart <= allowed
