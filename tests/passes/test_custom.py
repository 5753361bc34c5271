"""A pass of the user's own: found by name, run between batching and packing, checked like every other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from compiler.graphs import Computes, aten, captured, count, farthest, kjt, reasons
from torch import nn
from zoo import collection

from recpile.passes.base import PassError, run_passes
from recpile.passes.custom import load_pass
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.exactness import Step, check_steps
from recpile.pycompiler.quality import ParityError
from recpile.pycompiler.schema import Dense, InputSchema

DOCUMENT = Path(__file__).parents[2] / "docs" / "custom_pass.md"
OTHERS = """
import torch
from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured


class Fails(Pass):
    def run(self, program):
        raise KeyError("lost")


class ReturnsAProgram(Pass):
    def run(self, program):
        return program


class Needs(Pass):
    def __init__(self, limit):
        self.limit = limit

    def run(self, program):
        return PassResult(program, changed=False)


class NoRun(Pass):
    pass


def limited():
    return Needs(3)


class NotAPass:
    pass


ready = Needs(4)
number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works: the document's my_passes.py, and a module of passes with errors."""
    (code,) = re.findall(r"This is `my_passes.py`:\n\n```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "my_passes.py").write_text(code)
    (tmp_path / "other_passes.py").write_text(OTHERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_passes", "other_passes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def model() -> nn.Module:
    torch.manual_seed(0)
    return Computes(
        lambda self, x, sparse: self.out(
            self.tanh(self.hidden(torch.cat([x, self.one(sparse).values(), self.two(sparse).values()], dim=1)))
        ),
        one=collection(("a", 5, 4, ["f0"])),
        two=collection(("b", 5, 4, ["f1"])),
        hidden=nn.Linear(11, 8),
        tanh=nn.GELU(approximate="tanh"),
        out=nn.Linear(8, 1),
    ).eval()


INPUTS = (Dense("x", (3,)), kjt("f0", "f1"))


@pytest.mark.proves("What the user sees", "a custom pass", "graph")
def test_the_documents_pass_does_what_the_document_says(folder: Path) -> None:
    one, original = load_pass("my_passes:ExactGelu"), model()
    program = captured(original, *INPUTS)
    result = one.run(program)
    assert result.changed
    assert [node.kwargs for node in program.graph.graph.nodes if node.target is aten.gelu.default] == [
        {"approximate": "tanh"}
    ]
    assert [node.kwargs for node in result.program.graph.graph.nodes if node.target is aten.gelu.default] == [{}]
    assert reasons(result.program, "ExactGelu", did=True) == {"gelu": "exact instead of tanh"}

    assert 1e-5 < farthest(original, result.program) < 5e-3
    original.tanh = nn.GELU()
    assert farthest(original, result.program) < 1e-6

    again = one.run(result.program)
    assert not again.changed
    assert reasons(again.program, "ExactGelu", did=False) == {"gelu": "is exact already"}


def test_it_runs_on_the_whole_fp32_graph_behind_batching(folder: Path) -> None:
    names = [one.name for one in passes(TablePrecision("int8"), "bf16", [load_pass("my_passes:ExactGelu")])]
    at = names.index("ExactGelu")
    assert names.index("BatchTables") < at < names.index("QuantizeTables") < names.index("SplitStages")


def test_its_answers_are_checked_unless_it_says_that_it_changes_them(folder: Path) -> None:
    one, original = load_pass("my_passes:ExactGelu"), model()
    schema = InputSchema(INPUTS)
    steps = [Step("the capture", True, captured(original, *INPUTS))]
    program = run_passes(
        steps[0].program,
        passes(TablePrecision("int8"), "fp32", [one]),
        after=lambda done, made: steps.append(Step(f"pass {done.name}", done.exact, made)),
    )
    assert count(program, aten.gelu.default) == 1
    check_steps(original, schema, steps, None)
    claimed = [Step(step.name, step.exact or step.name == "pass ExactGelu", step.program) for step in steps]
    with pytest.raises(ParityError, match="differs after pass ExactGelu"):
        check_steps(original, schema, claimed, None)


@pytest.mark.parametrize("name", ["Fails", "ReturnsAProgram"])
def test_a_pass_that_fails_is_named_with_those_before_it(folder: Path, name: str) -> None:
    message = {"Fails": "'lost'", "ReturnsAProgram": r"run\(\) returned Program; return PassResult\(program, changed\)"}
    with pytest.raises(PassError, match=rf"pass {name} failed \(after .*JoinSlices\): {message[name]}"):
        run_passes(captured(model(), *INPUTS), passes(TablePrecision(), "fp32", [load_pass(f"other_passes:{name}")]))


def test_a_function_or_an_object_may_be_named(folder: Path) -> None:
    assert vars(load_pass("other_passes:limited")) == {"limit": 3}
    assert vars(load_pass("other_passes:ready")) == {"limit": 4}


@pytest.mark.proves("What the user sees", "a custom pass", "refusal")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my_passes", "got 'my_passes'; use MODULE:NAME"),
        ("no_such_module:X", "no module 'no_such_module'; give MODULE:NAME importable from here"),
        ("my_passes:ExactGleu", "module 'my_passes' has no 'ExactGleu'; it has ExactGelu"),
        ("other_passes:Needs", "cannot be called without arguments: .*limit.*name a function that returns the pass"),
        ("other_passes:NoRun", r"cannot be called without arguments: .*abstract.*implement run\(\)"),
        ("other_passes:NotAPass", "gives a NotAPass; derive it from recpile.passes.base.Pass"),
        ("other_passes:number", "is 7; use a Pass class, a function returning a pass, or a pass"),
    ],
)
def test_a_pass_that_cannot_be_had_is_refused_by_module_and_name(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_pass(text)
