"""Proves a model's captured graph on the sizes that break captures, and explains what is wrong by line of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from recpile.passes.base import PassError, run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.capture import capture
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.decisions import Decision, broken_by, watch_decisions
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.doctor_cases import CaseInputs, case_inputs
from recpile.pycompiler.exactness import Outputs, described, runner
from recpile.pycompiler.quality import eager, in_eval_mode
from recpile.pycompiler.schema import InputSchema, SchemaError
from recpile.pycompiler.source_lines import source_of_error
from recpile.pycompiler.swap import CaptureError


@dataclass(frozen=True)
class Case:
    """One input, through one form of the model, against eager. `difference` is None if there was nothing to compare."""

    name: str
    inputs: str  # "3 candidates, 7 ids"
    form: str  # "captured graph" or "artifact"
    verdict: str  # "ok", "differs" or "fails"
    difference: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """Something about the model that its user should know. `wrong`: it must be changed before the model is served."""

    what: str
    source: str  # "file:line: source" of the model, or ""
    advice: str
    wrong: bool


@dataclass(frozen=True)
class Diagnosis:
    """All cases and findings. `compared` holds the inputs, for diagnose_artifact."""

    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]
    compared: tuple[CaseInputs, ...] = field(default=(), repr=False, compare=False)

    @property
    def healthy(self) -> bool:
        return all(one.verdict == "ok" for one in self.cases) and not any(one.wrong for one in self.findings)


def diagnose(model: nn.Module, schema: InputSchema, max_batch: int = 512) -> Diagnosis:
    """Captures the model and compares the graph with eager: 1, 2, 3, 17 and `max_batch` candidates, no ids at all, each
    feature empty in turn, one id, long bags. Nothing is lowered or written, and the model is left as it was.
    """
    if max_batch < 1:
        raise ValueError(f"largest batch: got {max_batch}; use 1 or more")
    with in_eval_mode(model):
        with watch_decisions() as decisions:
            try:
                program = capture(model, schema, "doctor")
            except (CaptureError, SchemaError) as error:
                return Diagnosis((), (_refusal("the model cannot be captured", error),))
        findings = [_of_guard(one, schema) for one in decisions if one.kind == "guard"]
        try:
            # In fp32 and without lowering: the stages say which ids are looked up in which table.
            split = run_passes(program, passes(TablePrecision(), "fp32"))
        except (PassError, ValueError) as error:
            refused = _refusal("the graph cannot be cut into stages", error)
            return Diagnosis((), (*(one for one in findings if one), refused))
        inputs = tuple(case_inputs(build_manifest(split, "1", {}, {}), schema, max_batch))
        cases = _compared("captured graph", runner(program), model, schema, inputs)
    told = {one.source for one in findings if one}
    branches = [_of_branch(one, cases) for one in decisions if one.kind != "guard" and one.source not in told]
    return Diagnosis(tuple(cases), tuple(one for one in (*findings, *branches) if one), inputs)


def diagnose_artifact(diagnosis: Diagnosis, model: nn.Module, schema: InputSchema, path: Path) -> Diagnosis:
    """The same cases through the debug runtime on the artifact at `path`, added to `diagnosis`.

    An artifact with quantized tables or layers may differ: it is judged on failures, NaN and shapes only.
    """
    runtime = DebugRuntime(path)
    manifest = runtime.manifest
    exact = all(table["dtype"] == "fp32" for table in manifest["tables"])
    exact = exact and all(stage.get("precision", "fp32") == "fp32" for stage in manifest["stages"])

    def run(flat: Mapping[str, Tensor]) -> Outputs:
        answers = runtime.run(flat)
        return tuple(answers[name] for name in schema.outputs)

    with in_eval_mode(model):
        cases = _compared("artifact", run, model, schema, diagnosis.compared, exact)
    return replace(diagnosis, cases=(*diagnosis.cases, *cases))


def _compared(
    form: str,
    run: Callable[[Mapping[str, Tensor]], Outputs],
    model: nn.Module,
    schema: InputSchema,
    inputs: Sequence[CaseInputs],
    exact: bool = True,
) -> list[Case]:
    cases = []
    for one in inputs:
        case = Case(one.name, described(schema, one.flat), form, "fails")
        try:
            wanted = eager(model, schema, one.flat)
        except Exception as error:  # whatever the model's own code raises
            cases.append(replace(case, reason=f"eager PyTorch fails: {_first_line(error)}"))
            continue
        try:
            got = run(one.flat)
        except Exception as error:  # a graph fails in as many ways as its operators
            cases.append(replace(case, reason=_first_line(error)))
            continue
        apart, allowed = difference_of(wanted, got)
        if apart <= allowed:
            cases.append(replace(case, verdict="ok", difference=apart))
        elif not exact and apart < float("inf"):
            cases.append(replace(case, verdict="ok", difference=apart, reason="quantized: reported only"))
        else:
            reason = f"at most {allowed:.1g} expected" if apart < float("inf") else _shapes(wanted, got)
            cases.append(replace(case, verdict="differs", difference=apart, reason=reason))
    return cases


def _of_guard(guard: Decision, schema: InputSchema) -> Finding | None:
    sizes = broken_by(guard, schema)
    if sizes is None:
        return None
    broken = ", ".join(f"{axis} = {size:,}" for axis, size in sizes.items())
    return Finding(
        f"the graph holds only where {guard.condition}, so not for {broken}",
        guard.source,
        "compute for every size: torch.where instead of a branch, -1 instead of a size in view or reshape, padding to "
        "a multiple inside the model",
        wrong=True,
    )


def _of_branch(decision: Decision, cases: Sequence[Case]) -> Finding:
    wrong = [one.name for one in cases if one.verdict != "ok"]
    if decision.kind == "constant":
        what = "a size becomes a Python number, which is fixed in the graph"
        advice = "use the size itself (x.shape[0]) in tensor operators; no range(), int() or len() of it"
    else:
        what = "the model branches on a size; the graph keeps the side that was taken for several candidates with ids"
        advice = (
            "leave the branch out: sums and lookups over nothing give zeros, and shapes with -1 fit every batch; if "
            "the sides must differ, compute both and choose with torch.where"
        )
    what += f"; wrong for {', '.join(wrong)}" if wrong else "; no case differs"
    return Finding(what, decision.source, advice, wrong=bool(wrong))


def _refusal(what: str, error: Exception) -> Finding:
    # Messages of refusals say the line and the way out themselves.
    source = "" if ".py:" in str(error) else source_of_error(error)
    return Finding(f"{what}: {error}", source, "", wrong=True)


def _shapes(wanted: Outputs, got: Outputs) -> str:
    a, b = ([list(one.shape) for one in outputs] for outputs in (wanted, got))
    return f"outputs {b}, in eager {a}" if a != b else "NaN or infinite"


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0] or type(error).__name__
    source = source_of_error(error)
    return f"{text} ({source})" if source else text
