"""An artifact's stages one by one: every form of a stage gets the same inputs, so the first to differ is to blame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.debugging.describe import told_difference, told_tensor
from recpile.pycompiler.debugging.operators import GraphRunner, OperatorCall
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.parity.comparison import Finding, parity_of, told_operator
from recpile.pycompiler.parity.compiled_code import told_code
from recpile.pycompiler.parity.first_operator import Run, first_operator
from recpile.pycompiler.parity.rounding import allowed_rounding
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.quality import Parity

Values = dict[str, Tensor]


@dataclass(frozen=True)
class StageDifference:
    """How far a stage's outputs are apart, and how far they may be."""

    stage: str
    parity: Parity
    allowed: float

    @property
    def ok(self) -> bool:
        return self.parity.max <= self.allowed


def run_exported(runtime: DebugRuntime, flat: Mapping[str, Tensor]) -> Values:
    """Every value of the artifact, by its exported stages."""
    values = dict(flat)
    for stage in runtime.manifest["stages"]:
        values.update(runtime.run_stage(stage, values))
    return values


def same_stages(manifest: dict, program: Program) -> bool:
    """Whether a rebuilt program has the artifact's stages, with the values that flow between them."""

    def told(name: str, kind: str, inputs: Sequence[str], outputs: Sequence[str]) -> tuple:
        return (name, kind, tuple(inputs), tuple(outputs))

    wanted = [told(one.name, one.kind, one.inputs, [out.name for out in one.outputs]) for one in program.stages]
    got = [
        told(one["name"], one["kind"], one["inputs"], [out["name"] for out in one["outputs"]])
        for one in manifest["stages"]
    ]
    return wanted == got


def rebuilt_stage(stage: Stage, artifact: Artifact, values: Values) -> Run:
    """A rebuilt stage on the artifact's tables and values, operator by operator."""
    used = list(dict.fromkeys(f.table for f in stage.lookup.features)) if stage.lookup else []
    args = [*(artifact.table(t) for t in used), *(values[name] for name in stage.inputs)]
    calls: list[OperatorCall] = []
    outputs = GraphRunner(stage.graph, stage.name).run(args, calls.append)
    return Run(calls, tuple(outputs))


def exported_stage(runtime: DebugRuntime, stage: dict, values: Values) -> Run:
    calls: list[OperatorCall] = []
    given = runtime.run_stage(stage, values, calls.append)
    return Run(calls, tuple(given[spec["name"]] for spec in stage["outputs"]))


def against_rebuilt(
    exported: DebugRuntime, program: Program, values: Values
) -> tuple[list[StageDifference], Finding | None]:
    """The artifact's exported stages beside those that the model gives now; the first operator that differs."""
    differences, finding = [], None
    for stage, entry in zip(program.stages, exported.manifest["stages"], strict=True):
        wanted = rebuilt_stage(stage, exported.artifact, values)
        got = tuple(values[spec["name"]] for spec in entry["outputs"])
        allowed = difference_of(wanted.outputs, got)[1]
        one = StageDifference(stage.name, parity_of(wanted.outputs, got), allowed)
        differences.append(one)
        if not one.ok and finding is None:
            first = first_operator(wanted, exported_stage(exported, entry, values))
            told = told_operator(first, "the model's stage") if first else ("its outputs have no operator",)
            finding = Finding(f"artifact, stage {stage.name}: its program is not the model's", told)
    return differences, finding


def against_exported(
    compiled: DebugRuntime,
    exported: DebugRuntime,
    flat: Mapping[str, Tensor],
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[list[StageDifference], Finding | None, Values]:
    """The artifact's compiled stages beside their exported programs, each on the inputs that it gets in a compiled run.

    Returns also every value of that run. Of the first stage that differs the operator is searched for, which takes
    seconds: `progress` hears of it.
    """
    values, differences, finding = dict(flat), [], None
    for stage in compiled.manifest["stages"]:
        got = compiled.run_stage(stage, values)
        if stage["kind"] == "compiled":
            wanted = exported.run_stage(stage, values)
            pair = [wanted[name] for name in got], list(got.values())
            allowed = difference_of(*pair)[1]
            given = [values[name] for name in stage["inputs"]]
            if stage["precision"] != "fp32":
                int8 = any(layer["dtype"].startswith("int8") for layer in stage.get("layers", ()))
                rounding = allowed_rounding(exported.exported(stage["name"]), given, list(wanted.values()), int8)
                allowed = max(allowed, rounding)
            one = StageDifference(stage["name"], parity_of(*pair), allowed)
            differences.append(one)
            if not one.ok and finding is None:
                told = told_code(stage, exported.exported(stage["name"]), given, progress)
                finding = _other_code(stage, given, wanted, got, told)
        values.update(got)
    return differences, finding, values


def _other_code(stage: dict, given: list[Tensor], wanted: Values, got: Values, why: tuple[str, ...]) -> Finding:
    lines = [f"reads {name}: {told_tensor(one)}" for name, one in zip(stage["inputs"], given, strict=True)]
    for name, one in got.items():
        lines += [f"gives {name}: {told_tensor(one)}", f"its exported program gives {told_tensor(wanted[name])}"]
        if one.numel() == wanted[name].numel():
            lines.append(told_difference(wanted[name], one))
    said = "its code does not compute what its exported program does"
    return Finding(f"compiled stage {stage['name']}: {said}", (*lines, *why))
