"""The gate in front of lowering: what must not change the model's answers is shown not to, step by step.

A quantized artifact is never equal to its model, so a wrong capture or a wrong pass would hide behind the error that
was asked for. So the graph is compared with eager before anything is quantized, and each later pass that claims to be
exact with the graph before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.parity.why_parted import told_failure, why_parted
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import EvalData, ParityError, answered_batches, run_stages
from recpile.pycompiler.schema import CANDIDATE, InputSchema

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Step:
    """The program after the capture or after a pass. `exact`: this step must not change what the program answers."""

    name: str
    exact: bool
    program: Program


def check_steps(model: nn.Module, schema: InputSchema, steps: Sequence[Step], data: EvalData | None) -> None:
    """ParityError names the first exact step that changes an answer by more than 1e-5 (of 1, or of the largest answer).

    steps: capture first, then every pass in order, whole. Compared on random inputs of several batch sizes, with and
    without ids, and on rows of `data`.
    """
    manifest = build_manifest(steps[-1].program, "1", {}, {})
    batches = answered_batches(model, schema, manifest, data)
    expected = [wanted for _, wanted in batches]
    inputs = [flat for flat, _ in batches]
    for run in _runs(steps):
        exact = [step for step in run if step.exact]
        # The last one of a run speaks for all before it; only if it differs are they searched for the one to blame.
        if exact and _first_difference(exact[-1], inputs, expected, schema):
            for step in exact:
                if difference := _first_difference(step, inputs, expected, schema):
                    raise ParityError(_message(model, schema, step, steps, *difference))
        lossy = [step for step in run if not step.exact]
        if lossy:
            answer = runner(lossy[-1].program)
            expected = [answer(flat) for flat in inputs]


def runner(program: Program) -> Callable[[Mapping[str, Tensor]], Outputs]:
    """Runs a program through PyTorch's own operators: by its stages if it is split, else by its graph."""
    if program.stages:
        return lambda flat: run_stages(program, flat)
    module = program.graph.module(check_guards=False)
    names = [spec.name for spec in program.schema.graph_tensors()]  # the graph takes them in this order

    def run(flat: Mapping[str, Tensor]) -> Outputs:
        with torch.no_grad():
            return tuple(module({name: flat[name] for name in names}))

    return run


def described(schema: InputSchema, flat: Mapping[str, Tensor]) -> str:
    """ "3 candidates, 7 ids"."""
    spec = next(one for one in schema.tensors() if CANDIDATE in one.shape)
    batch = flat[spec.name].shape[spec.shape.index(CANDIDATE)]
    ids = sum(len(flat[one.name]) for one in schema.tensors() if one.name.endswith(".values"))
    return f"{batch} candidate{'s' * (batch != 1)}, {ids} id{'s' * (ids != 1)}"


def _runs(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps cut after each lossy one, which is what the steps behind it are compared with."""
    runs: list[list[Step]] = [[]]
    for step in steps:
        if runs[-1] and not runs[-1][-1].exact:
            runs.append([])
        runs[-1].append(step)
    return runs


def _first_difference(
    step: Step, inputs: Sequence, expected: Sequence[Outputs], schema: InputSchema
) -> tuple[str, Mapping[str, Tensor]] | None:
    """ "by 0.3 (at most 1e-05 expected) on 3 candidates, 7 ids", and these inputs; None if there is none."""
    answer = runner(step.program)
    for flat, wanted in zip(inputs, expected, strict=True):
        try:
            apart, allowed = difference_of(wanted, answer(flat))
        except (IndexError, RuntimeError) as error:
            return f"and fails ({told_failure(error, step.program)}) on {described(schema, flat)}", flat
        if not apart <= allowed:
            return f"by {apart:.3g} (at most {allowed:.1g} expected) on {described(schema, flat)}", flat
    return None


def _message(
    model: nn.Module,
    schema: InputSchema,
    step: Step,
    steps: Sequence[Step],
    difference: str,
    flat: Mapping[str, Tensor],
) -> str:
    if step is not steps[0]:
        return (
            f"the program differs after {step.name} {difference}; before it, it did not. A pass that changes answers "
            "on purpose says so (exact = False); else this is an error in the pass: leave it out, and report it"
        )
    why = why_parted(model, schema, step.program, flat, difference.startswith("and fails"))
    return f"the captured graph differs from the model {difference}. {why}; `recpile doctor` shows every case"
