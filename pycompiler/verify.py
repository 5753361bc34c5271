"""Parity: the same inputs through each form of a model, from eager PyTorch to the C++ engine, and where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from recpile.passes.base import Pass
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.differences import FP32_TOLERANCE, difference_of
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.exactness import Step, runner
from recpile.pycompiler.inputs import check_inputs
from recpile.pycompiler.parity import artifact_stages, through_engine
from recpile.pycompiler.parity.artifact_stages import StageDifference
from recpile.pycompiler.parity.comparison import Comparison, Finding, Report, parity_of, told_operator
from recpile.pycompiler.parity.engine_stages import told_engine
from recpile.pycompiler.parity.first_operator import first_operator, run_eager, run_program
from recpile.pycompiler.parity.rebuild import rebuild
from recpile.pycompiler.parity.through_engine import StartEngine, start_engine
from recpile.pycompiler.parity.weights import compare_weights
from recpile.pycompiler.quality import Parity, eager, in_eval_mode
from recpile.pycompiler.schema import InputSchema

Model = tuple[nn.Module, InputSchema]


@dataclass(frozen=True)
class VerifyOptions:
    """`tolerance`: how far the last runtime may be from eager (None: 1e-5 for an fp32 artifact, any for others).
    `passes`, `calibration`: as at export. `engine`: also through the C++ engine, which `start` starts. `progress` hears
    of what takes seconds when a compiled stage differs."""

    tolerance: float | None = None
    passes: tuple[Pass, ...] = ()
    calibration: EvalData | None = None
    engine: bool = True
    start: StartEngine = start_engine
    progress: Callable[[str], None] = lambda step: None

    def __post_init__(self) -> None:
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(f"tolerance: got {self.tolerance}; use a number that is not negative")


def verify(
    artifact: Artifact,
    inputs: Mapping[str, Tensor],
    model: Model | None = None,
    options: VerifyOptions = VerifyOptions(),
) -> Report:
    """Runs flat `inputs` of one request through eager, the captured graph, the program after each pass, the artifact's
    exported stages, the debug runtime, and the C++ engine alone and coalesced; each is compared with the one before.

    `model` (weights loaded) runs in eval mode, and is left in the mode that it was in. Without it this begins at the
    exported stages. A pass that changes answers on purpose is only reported; what it made is what the next step is
    compared with, so that it hides no fault. Raises InputError, or ValueError if the model cannot be what the artifact
    was made of.
    """
    with in_eval_mode(model[0]) if model else nullcontext():
        return _verified(artifact, inputs, model, options)


def _verified(artifact: Artifact, inputs: Mapping[str, Tensor], model: Model | None, options: VerifyOptions) -> Report:
    manifest = artifact.manifest
    flat, _ = check_inputs(manifest, inputs)
    exported, compiled = DebugRuntime(artifact, "exported"), DebugRuntime(artifact, "compiled")
    found = _Found()
    wanted = eager(*model, flat) if model else None
    if model is not None and wanted is not None:
        steps = rebuild(*model, manifest, options.passes, options.calibration)
        _compare_passes(found, model, steps, flat, wanted)
        _compare_artifact(found, steps, exported, flat)
    differences, fault, values = artifact_stages.against_exported(compiled, exported, flat, options.progress)
    found.add("debug runtime", "exported stages", *_worst(differences), fault)
    last, answers = "debug runtime", [values[output["value"]] for output in manifest["outputs"]]
    if options.engine:
        # In another batch a layer may round otherwise, as its compiled code may.
        allowed = max((one.allowed for one in differences), default=FP32_TOLERANCE)
        last, answers = "C++ engine", _compare_engine(found, compiled, flat, options.start, allowed)
    if wanted is not None:
        fault = Finding("the whole", ("it is further from eager than allowed; each step alone is not",))
        found.add(last, "eager", parity_of(wanted, answers), _allowed(manifest, wanted, answers, options), fault)
    return Report(tuple(found.steps), found.fault)


class _Found:
    """The comparisons so far, and the first fault among them."""

    def __init__(self) -> None:
        self.steps: list[Comparison] = []
        self.fault: Finding | None = None

    def add(self, name: str, against: str, parity: Parity, allowed: float | None, fault: Finding | None) -> None:
        step = Comparison(name, against, parity, allowed)
        self.steps.append(step)
        if not step.ok and self.fault is None:
            self.fault = fault


def _compare_passes(
    found: _Found, model: Model, steps: Sequence[Step], flat: Mapping[str, Tensor], wanted: Sequence[Tensor]
) -> None:
    before, against, program = wanted, "eager", None
    for step in steps:
        same = program is not None and (step.program.graph, step.program.stages) == (program.graph, program.stages)
        after = before if same else runner(step.program)(flat)
        parity, allowed, fault = parity_of(before, after), difference_of(before, after)[1], None
        if step.exact and not parity.max <= allowed:
            was = run_program(program, flat) if program else run_eager(lambda: eager(*model, flat))
            first = first_operator(was, run_program(step.program, flat))
            fault = Finding(step.name, told_operator(first, against) if first else ("no operator of it is to blame",))
        found.add(step.name, against, parity, allowed if step.exact else None, fault)
        before, against, program = after, step.name, step.program


def _compare_artifact(found: _Found, steps: Sequence[Step], exported: DebugRuntime, flat: Mapping[str, Tensor]) -> None:
    others = compare_weights(exported, [step.program for step in steps])
    largest = max(others, key=lambda one: one.largest, default=None)
    parity = Parity(largest.largest, largest.mean) if largest else Parity(0.0, 0.0)
    stale = "the artifact was exported from another checkpoint: export it again, or give the one that it was made of"
    found.add("weights", "checkpoint", parity, 0.0, Finding("weights", (*map(str, others), stale)))
    last, values = steps[-1].program, artifact_stages.run_exported(exported, flat)
    if artifact_stages.same_stages(exported.manifest, last):
        differences, fault = artifact_stages.against_rebuilt(exported, last, values)
        found.add("exported stages", "the model's stages", *_worst(differences), fault)
        return
    wanted = runner(last)(flat)
    got = [values[output["value"]] for output in exported.manifest["outputs"]]
    fault = Finding("artifact", ("its stages are not those that the model gives now: export it again",))
    found.add("exported stages", "the model's stages", parity_of(wanted, got), difference_of(wanted, got)[1], fault)


def _compare_engine(
    found: _Found, debug: DebugRuntime, flat: Mapping[str, Tensor], start: StartEngine, allowed: float
) -> list[Tensor]:
    names = [output["name"] for output in debug.manifest["outputs"]]
    said = through_engine.ask_engine(debug.artifact.path, debug.manifest, flat, start)
    asked, answered = [flat, *said.requests], [said.whole, *said.alone]
    own = [debug.run(one) for one in asked]
    wanted, got = through_engine.listed(own, names), through_engine.listed(answered, names)
    parity, fault = parity_of(wanted, got), None
    if not parity.max <= 0:
        told = told_engine(debug, asked, own, answered, start)
        fault = Finding("engine: it does not answer as the debug runtime, which runs the same code", told)
    found.add("C++ engine", "debug runtime", parity, 0.0, fault)

    alone, together = (through_engine.listed(one, names) for one in (said.alone, said.together))
    allowed = max(allowed, difference_of(alone, together)[1])
    fault = Finding("coalescing", tuple(through_engine.mixed_up(said, allowed)))
    batches = f"{said.batches} batch{'es' * (said.batches != 1)}"
    found.add(f"{len(said.alone)} requests in {batches}", "one by one", parity_of(alone, together), allowed, fault)
    return through_engine.listed([said.whole], names)


def _worst(differences: Sequence[StageDifference]) -> tuple[Parity, float]:
    """Of the stage that is furthest beyond, or nearest to, what is allowed."""

    def beyond(one: StageDifference) -> tuple[bool, float]:
        return (not one.ok, one.parity.max - one.allowed)

    if not differences:
        return Parity(0.0, 0.0), FP32_TOLERANCE
    worst = max(differences, key=beyond)
    return worst.parity, worst.allowed


def _allowed(manifest: dict, wanted: Sequence[Tensor], got: Sequence[Tensor], options: VerifyOptions) -> float | None:
    if options.tolerance is not None:
        return options.tolerance
    exact = all(table["dtype"] == "fp32" for table in manifest["tables"])
    exact = exact and all(stage.get("precision", "fp32") == "fp32" for stage in manifest["stages"])
    # A pass of the user's that changes answers on purpose leaves no trace but that it ran.
    exact = exact and all(one.exact for one in options.passes)
    return difference_of(wanted, got)[1] if exact else None
