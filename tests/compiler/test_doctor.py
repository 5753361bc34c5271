"""The doctor: which sizes a captured graph gets right, and which line of the model is to blame for the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import zoo
from compiler.graphs import Computes, kjt
from rich.console import Console
from zoo import collection

from recpile.pycompiler.cli.diagnosis import print_diagnosis
from recpile.pycompiler.doctor import Diagnosis, diagnose, diagnose_artifact
from recpile.pycompiler.schema import Dense, InputSchema, Jagged

X = Dense("x", (3,))


def verdicts(diagnosis: Diagnosis, form: str = "captured graph") -> dict[str, str]:
    return {case.name: case.verdict for case in diagnosis.cases if case.form == form}


def printed(diagnosis: Diagnosis) -> str:
    console = Console(width=160, highlight=False, markup=False)
    with console.capture() as capture:
        print_diagnosis(console, diagnosis)
    return capture.get()


@pytest.mark.proves("What the user sees", "export --doctor", "graph")
def test_a_healthy_model_is_right_in_every_case_in_graph_and_artifact(tiny: Path) -> None:
    model, schema = zoo.tiny_dlrm()
    model.train()
    diagnosis = diagnose(model, schema, max_batch=64)
    assert model.training
    names = [f"batch {size}" for size in (1, 2, 3, 17, 64)]
    names += ["no ids, batch 1", "no ids, batch 17"]
    names += [f"sparse[{key}] empty" for key in ("user", "item", "genres", "city", "history")]
    names += ["one id, batch 3", "long bags, batch 1", "long bags, batch 3"]
    assert verdicts(diagnosis) == dict.fromkeys(names, "ok")
    assert diagnosis.healthy

    both = diagnose_artifact(diagnosis, model, schema, tiny)
    assert verdicts(both, "artifact") == dict.fromkeys(names, "ok")
    assert both.healthy
    assert max(case.difference for case in both.cases if case.difference is not None) <= 2e-5
    assert "30 cases, 0 wrong: healthy" in printed(both)


def test_an_artifact_of_other_weights_differs(tiny: Path) -> None:
    model, schema = zoo.tiny_dlrm()
    diagnosis = diagnose(model, schema, max_batch=2)
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if name.endswith("bias")).add_(1)
    both = diagnose_artifact(diagnosis, model, schema, tiny)
    assert "differs" in verdicts(both, "artifact").values()
    assert not both.healthy


def test_each_case_is_what_its_name_says() -> None:
    model = Computes(lambda self, ids, sparse: ids.lengths() + sparse.lengths().reshape(2, -1).sum(0))
    diagnosis = diagnose(model, InputSchema([Jagged("ids", weighted=True), kjt("a", "b")]), max_batch=9)
    flats = {one.name: one.flat for one in diagnosis.compared}
    assert [flats[f"batch {size}"]["ids.lengths"].shape for size in (1, 2, 3, 9, 17)] == [(1,), (2,), (3,), (9,), (17,)]
    assert len(flats["no ids, batch 17"]["sparse.values"]) == 0
    assert (
        int(flats["sparse[b] empty"]["sparse.lengths"][0].sum()) == len(flats["sparse[b] empty"]["sparse.values"]) > 0
    )
    assert int(flats["sparse[b] empty"]["sparse.lengths"][1].sum()) == 0
    assert (len(flats["ids empty"]["ids.values"]), len(flats["ids empty"]["ids.weights"])) == (0, 0)
    assert len(flats["ids empty"]["sparse.values"]) > 0
    assert [len(flats["one id, batch 3"][f"{name}.values"]) for name in ("ids", "sparse")] == [1, 1]
    assert int(flats["long bags, batch 3"]["ids.lengths"].max()) > 20
    assert diagnosis.healthy


def if_any_ids(self, sparse):
    pooled = self.bags(sparse).values()
    if sparse.values().numel() > 0:
        return torch.sigmoid(pooled.sum(1))
    return torch.sigmoid(pooled.sum(1) + 1)


def if_one_candidate(self, sparse):
    pooled = self.bags(sparse).values()
    if sparse.stride() == 1:
        return (pooled.sum(1) + 1) * 0.5
    return pooled.sum(1) + 1


def harmless(self, sparse):
    pooled = self.bags(sparse).values()
    assert sparse.stride() > 0
    return pooled.sum(1)


@pytest.mark.proves("What the user sees", "export --doctor", "refusal")
@pytest.mark.parametrize(
    ("function", "line", "wrong"),
    [
        (if_any_ids, "if sparse.values().numel() > 0:", {"no ids, batch 1", "no ids, batch 17", "sparse[f0] empty"}),
        (
            if_one_candidate,
            "if sparse.stride() == 1:",
            {"batch 1", "no ids, batch 1", "long bags, batch 1"},
        ),
        (harmless, "assert sparse.stride() > 0", set()),
    ],
)
def test_a_branch_on_a_size_is_named_with_the_cases_that_it_spoils(function, line, wrong) -> None:
    model = Computes(function, bags=collection(("t", 5, 4, ["f0"])))
    diagnosis = diagnose(model, InputSchema([kjt("f0")]), max_batch=4)
    assert {name for name, verdict in verdicts(diagnosis).items() if verdict != "ok"} == wrong
    (finding,) = diagnosis.findings
    assert finding.source.endswith(line)
    assert "test_doctor.py:" in finding.source
    assert (finding.wrong, diagnosis.healthy) == (bool(wrong), not wrong)
    assert finding.what.endswith(
        "; no case differs" if not wrong else ", ".join(n for n in verdicts(diagnosis) if n in wrong)
    )
    text = printed(diagnosis)
    assert ("DIFFERS" in text, "WRONG" in text, line in text) == (bool(wrong), bool(wrong), True)


def test_a_guard_on_the_number_of_ids_is_named_with_sizes_that_break_it() -> None:
    def pairs(self, x, ids):
        return x.sum(1) + ids.values().view(-1, 2).sum() * 0

    diagnosis = diagnose(Computes(pairs), InputSchema([X, Jagged("ids")]), max_batch=4)
    guards = [one for one in diagnosis.findings if one.what.startswith("the graph holds only where")]
    assert "so not for ids.nnz = 1" in guards[0].what
    assert guards[0].source.endswith("return x.sum(1) + ids.values().view(-1, 2).sum() * 0")
    assert not diagnosis.healthy
    reasons = {case.name: case.reason for case in diagnosis.cases}
    assert reasons["one id, batch 3"].startswith("eager PyTorch fails: ")


def test_a_model_that_cannot_be_captured_is_a_finding_with_its_line() -> None:
    def branch(self, x):
        return x if x.sum() > 0 else -x

    diagnosis = diagnose(Computes(branch), InputSchema([X]))
    (finding,) = diagnosis.findings
    assert (diagnosis.cases, diagnosis.healthy) == ((), False)
    assert "control flow on tensor values" in finding.what
    assert "return x if x.sum() > 0 else -x" in finding.what


def test_a_model_whose_outputs_are_no_rows_of_the_batch_is_a_finding() -> None:
    diagnosis = diagnose(Computes(lambda self, x: x.mean()), InputSchema([X]))
    assert not diagnosis.healthy
    assert "its first axis must be 'candidate'" in diagnosis.findings[0].what


def test_the_largest_batch_is_positive() -> None:
    with pytest.raises(ValueError, match="largest batch: got 0; use 1 or more"):
        diagnose(Computes(lambda self, x: x), InputSchema([X]), max_batch=0)
