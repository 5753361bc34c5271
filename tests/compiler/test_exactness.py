"""The gate: a capture or a pass that changes answers is named, also where quantization would hide it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from compiler.graphs import Computes, aten, kjt
from torch import nn
from zoo import collection

from recpile.passes.base import Pass, PassResult, run_passes
from recpile.passes.graph import editable, recaptured
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.exactness import Step, check_steps, difference_of
from recpile.pycompiler.quality import EvalData, ParityError
from recpile.pycompiler.schema import Dense, InputSchema, Jagged


class Scaled(Pass):
    """Multiplies every sigmoid by 0.999: a pass that is wrong, by less than int8 tables are."""

    def run(self, program):
        module = editable(program.graph)
        found = [node for node in module.graph.nodes if node.target is aten.sigmoid.default]
        for node in found:
            with module.graph.inserting_after(node):
                scaled = module.graph.call_function(aten.mul.Tensor, (node, 0.999))
            node.replace_all_uses_with(scaled, delete_user_cb=lambda user, scaled=scaled: user is not scaled)
        return PassResult(recaptured(program, module), changed=True)


class MeansTo(Scaled):
    exact = False


def scorer(seed=0):
    torch.manual_seed(seed)
    return Computes(
        lambda self, x, sparse: torch.sigmoid(
            self.out(torch.relu(self.hidden(torch.cat([x, self.bags(sparse).values()], dim=1))))
        ),
        bags=collection(("a", 50, 4, ["f0"]), ("b", 50, 4, ["f1"])),
        hidden=nn.Linear(11, 8),
        out=nn.Linear(8, 1),
    ).eval()


SCHEMA = InputSchema([Dense("x", (3,)), kjt("f0", "f1")])


@functools.cache
def scorer_steps(*extra, seed=0, tables="int8", dense="fp32"):
    """Captured once for the tests that read it."""
    return steps_of(scorer(seed), SCHEMA, [one() for one in extra], tables, dense)


def steps_of(model, schema, extra=(), tables="fp32", dense="fp32"):
    program = capture(model, schema, "m")
    steps = [Step("the capture", True, program)]
    run_passes(
        program,
        passes(TablePrecision(tables), dense, extra),
        after=lambda one, made: steps.append(Step(f"pass {one.name}", one.exact, made)),
    )
    return steps


def test_the_steps_of_a_compiler_without_errors_pass():
    check_steps(scorer(), SCHEMA, scorer_steps(dense="bf16"), None)
    check_steps(scorer(), SCHEMA, scorer_steps(tables="fp32"), None)


def test_a_wrong_pass_is_named_behind_int8_tables():
    steps = scorer_steps(Scaled)
    with pytest.raises(
        ParityError, match=r"differs after pass Scaled by 0.0\d+ \(at most 1e-05.*candidate.*exact = False"
    ):
        check_steps(scorer(), SCHEMA, steps, None)


def test_a_pass_that_says_it_changes_answers_is_what_later_ones_are_compared_with():
    check_steps(scorer(), SCHEMA, scorer_steps(MeansTo), None)
    with pytest.raises(ParityError, match="after pass Scaled"):
        check_steps(scorer(), SCHEMA, scorer_steps(MeansTo, Scaled), None)


def test_a_wrong_pass_behind_quantization_is_named():
    steps, others = (scorer_steps(seed=seed) for seed in (0, 1))
    (split,) = [i for i, step in enumerate(steps) if step.name == "pass SplitStages"]
    with pytest.raises(ParityError, match="after pass SplitStages by"):
        check_steps(scorer(), SCHEMA, [*steps[:split], *others[split:]], None)


def if_any_ids(self, sparse):
    pooled = self.bags(sparse).values()
    if sparse.values().numel() > 0:
        return torch.sigmoid(pooled.sum(1))
    return torch.sigmoid(pooled.sum(1) + 1)


def if_one_candidate(self, sparse):
    pooled = self.bags(sparse).values()
    if sparse.stride() == 1:
        return torch.sigmoid(pooled.sum(1)) * 0.5
    return torch.sigmoid(pooled.sum(1))


@pytest.mark.parametrize(
    ("function", "line", "case"),
    [
        (if_any_ids, r"if sparse.values\(\).numel\(\) > 0:", "1 candidate, 0 ids"),
        (if_one_candidate, r"if sparse.stride\(\) == 1:", "1 candidate, "),
    ],
)
def test_a_branch_on_sizes_is_refused_with_its_line_though_torch_dropped_it(function, line, case, tmp_path):
    model = Computes(function, bags=collection(("t", 5, 4, ["f0"])))
    options = CompileOptions("m", tables=TablePrecision("int8"))
    with pytest.raises(ParityError, match=rf"(?s)captured graph differs.*{case}.*test_exactness.py:\d+: {line}"):
        compile_model(model, InputSchema([kjt("f0")]), tmp_path / "m.pt2", options)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_left_in_the_mode_it_was_in(tmp_path):
    bags, frozen = collection(("t", 5, 4, ["f0"])), nn.Dropout()
    model = Computes(if_one_candidate, bags=bags, frozen=frozen).train()
    frozen.eval()
    with pytest.raises(ParityError):
        compile_model(model, InputSchema([kjt("f0")]), tmp_path / "m.pt2", CompileOptions("m"))
    assert model.training
    assert bags.training
    assert not frozen.training


def test_ids_that_only_the_users_rows_have_are_compared_on_those_rows():
    model = Computes(
        lambda self, ids: self.table(ids.values()[: ids.lengths().shape[0]] - 100), table=nn.Embedding(3, 2)
    )
    schema = InputSchema([Jagged("ids")])
    steps = steps_of(model.eval(), schema)
    with pytest.raises(ParityError, match=r"could not be checked on random inputs.*--eval-data"):
        check_steps(model, schema, steps, None)
    rows = {"ids.values": np.array([100, 102, 101]), "ids.lengths": np.array([1, 1, 1])}
    check_steps(model, schema, steps, EvalData("rows", rows, np.array([0, 1, 1])))


def test_what_is_allowed_grows_with_large_answers_and_nan_is_never_allowed():
    one = torch.tensor([0.5, 200.0])
    assert difference_of([one], [one]) == (0.0, pytest.approx(0.002))
    assert difference_of([one[:1]], [one[:1] + 0.25]) == (0.25, 1e-5)
    assert difference_of([one[:1].reshape(())], [one[:1]]) == (0.0, 1e-5)
    assert difference_of([one], [one[:1]])[0] == float("inf")
    # Whichever output it is in.
    for wrong in (float("nan"), float("inf")):
        for bad, good in (([one * wrong, one], [one, one]), ([one, one * wrong], [one, one])):
            for wanted, got in ((bad, good), (good, bad)):
                apart, allowed = difference_of(wanted, got)
                assert not apart <= allowed


def test_an_extra_pass_is_an_instance():
    with pytest.raises(ValueError, match=r"extra pass: got <class '.*Scaled'>; use an instance"):
        CompileOptions("m", extra_passes=(Scaled,))  # type: ignore[arg-type]
    assert CompileOptions("m", extra_passes=[MeansTo()]).extra_passes[0].name == "MeansTo"  # type: ignore[arg-type]
