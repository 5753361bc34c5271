"""`verify` names what is wrong: a fault is planted in each layer, from the checkpoint to the coalescer."""

from __future__ import annotations

import math
import re
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
import xxhash
from artifact.tamper import rewrite
from compiler.graphs import Computes, aten, kjt
from torch import nn
from zoo import collection, tiny_dlrm

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.parity.comparison import parity_of
from recpile.pycompiler.parity.through_engine import start_engine
from recpile.pycompiler.quality import Parity
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import Dense, InputSchema
from recpile.pycompiler.verify import VerifyOptions, verify

SCHEMA = InputSchema([Dense("x", (3,)), kjt("f0", "f1")])
NO_ENGINE = VerifyOptions(engine=False)


def score(self, x, sparse):
    hidden = self.hidden(torch.cat([x, self.bags(sparse).values()], dim=1))
    shifted = torch.relu(hidden) + torch.tanh(hidden)
    return torch.sigmoid(self.out(shifted)).squeeze(1)


def score_of_later_code(self, x, sparse):
    hidden = self.hidden(torch.cat([x, self.bags(sparse).values()], dim=1))
    shifted = torch.relu(hidden) - torch.tanh(hidden)
    return torch.sigmoid(self.out(shifted)).squeeze(1)


def score_with_a_branch(self, x, sparse):
    if sparse.values().numel() == 0:
        x = x * 2
    return score(self, x, sparse)


def scorer(seed=0, function=score):
    torch.manual_seed(seed)
    bags = collection(("a", 50, 4, ["f0"]), ("b", 50, 4, ["f1"]))
    return Computes(function, bags=bags, hidden=nn.Linear(11, 8), out=nn.Linear(8, 1)).eval()


class SubForAdd(Pass):
    """A wrong pass: subtracts where the model adds. `exact` is what it claims."""

    def __init__(self, exact=True):
        self.exact = exact

    def run(self, program):
        module = editable(program.graph)
        for node in module.graph.nodes:
            if node.target is aten.add.Tensor:
                node.target = aten.sub.Tensor
        return PassResult(recaptured(program, module).with_notes(self.did("add", "became sub")), changed=True)


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Artifact:
    """scorer(0), int8 tables, with nothing wrong."""
    path = tmp_path_factory.mktemp("verify") / "right.pt2"
    compile_model(scorer(0), SCHEMA, path, CompileOptions("scorer", tables=TablePrecision("int8")))
    return Artifact(path)


@pytest.fixture(scope="module")
def subtracts(tmp_path_factory) -> Artifact:
    """scorer(1), through a pass that is wrong and got past the checks of export, as it said that it changes answers."""
    path = tmp_path_factory.mktemp("verify") / "subtracts.pt2"
    options = CompileOptions("scorer", tables=TablePrecision("int8"), extra_passes=(SubForAdd(exact=False),))
    compile_model(scorer(1), SCHEMA, path, options)
    return Artifact(path)


def inputs(artifact, candidates=16):
    return random_inputs(artifact.manifest, candidates)


def line_of(text):
    source = Path(__file__).read_text().splitlines()
    return rf"test_verify.py:{1 + source.index(next(line for line in source if text in line))}: {re.escape(text)}"


def told(report):
    assert not report.ok
    return str(report.finding)


def test_every_form_of_a_right_artifact_is_compared_with_the_one_before(right):
    report = verify(right, inputs(right), (scorer(0), SCHEMA))
    assert report.ok, report.finding
    names = [step.name for step in report.steps]
    assert names[0] == "captured graph"
    assert "pass QuantizeTables" in names
    assert names[-6:-2] == ["weights", "exported stages", "debug runtime", "C++ engine"]
    assert re.fullmatch(r"9 requests in [1-9] batch(es)?", names[-2])
    assert (report.steps[-1].name, report.steps[-1].against, report.steps[-1].allowed) == ("C++ engine", "eager", None)
    packed = report.steps[names.index("pass QuantizeTables")]
    assert packed.parity.max > 0
    assert packed.allowed is None


def test_a_model_in_training_mode_is_run_in_eval_mode_and_left_as_it_was(right):
    model = scorer(0, lambda self, x, sparse: nn.functional.dropout(score(self, x, sparse), 0.5, self.training))
    model.train()
    model.get_submodule("hidden").eval()
    modes = {name: module.training for name, module in model.named_modules()}
    report = verify(right, inputs(right), (model, SCHEMA), NO_ENGINE)
    assert report.ok, report.finding
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.training


def test_without_a_model_the_runtimes_are_compared(right):
    report = verify(right, inputs(right), options=NO_ENGINE)
    assert [step.name for step in report.steps] == ["debug runtime"]
    assert report.ok


def test_a_weight_that_changed_after_export_is_named_though_tables_are_int8(right):
    model = scorer(0)
    with torch.no_grad():
        model.get_parameter("hidden.weight")[2, 3] += 1e-4
    said = told(verify(right, inputs(right), (model, SCHEMA), NO_ENGINE))
    assert said.startswith("first fault: weights\n")
    assert re.search(r"weight 'hidden.weight' differs by up to 0.0001 .* in 1 of 88 values; read in stage dense", said)
    assert re.search(r"by aten.linear.default 'linear' \(.*" + line_of("hidden = self.hidden("), said)
    assert "export it again" in said


def test_a_row_that_changed_after_export_is_named_though_its_table_is_int8(right):
    model = scorer(0)
    with torch.no_grad():
        model.get_parameter("bags.embedding_bags.b.weight")[7] *= 1.1
    said = told(verify(right, inputs(right), (model, SCHEMA), NO_ENGINE))
    assert re.search(r"table 'b' \(int8\) differs by up to 0\.\d+ .* in \d of 200 values; looked up", said)
    assert "table 'a'" not in said


def test_a_wrong_pass_is_named_with_the_operator_and_the_models_line(subtracts):
    options = VerifyOptions(passes=(SubForAdd(),), engine=False)
    said = told(verify(subtracts, inputs(subtracts), (scorer(1), SCHEMA), options))
    assert said.startswith("first fault: pass SubForAdd\n")
    assert re.search(
        r"at aten.sub.Tensor '\w+' of stage the graph \(.*" + line_of("shifted = torch.relu(hidden) +"), said
    )
    assert "reads relu: fp32[16, 8]" in said
    assert "reads tanh: fp32[16, 8]" in said
    assert re.search(r"gives fp32\[16, 8\] -?\d", said)
    assert re.search(r"pass JoinSlices: aten.add.Tensor 'add\w*' gives fp32\[16, 8\]", said)
    assert re.search(r"largest difference \d\S* at \[\d+, \d\]: \S+ instead of \S+", said)


def test_an_artifact_of_a_pass_that_is_not_given_is_refused(subtracts):
    with pytest.raises(ValueError, match=r"exported with the pass SubForAdd, .* give it again \(--pass MODULE:NAME\)"):
        verify(subtracts, inputs(subtracts), (scorer(1), SCHEMA), NO_ENGINE)


def test_a_models_code_that_changed_after_export_is_named_with_the_operator(right):
    said = told(verify(right, inputs(right), (scorer(0, score_of_later_code), SCHEMA), NO_ENGINE))
    assert "first fault: artifact, stage dense: its program is not the model's" in said
    assert re.search(r"at aten.add.Tensor '\w+' of stage dense \(.*" + line_of("shifted = torch.relu(hidden) +"), said)


def test_a_wrong_capture_is_named_with_the_operator(right):
    no_ids = random_inputs(right.manifest, 16, longest_bag=0)
    said = told(verify(right, no_ids, (scorer(0, score_with_a_branch), SCHEMA), NO_ENGINE))
    assert said.startswith("first fault: captured graph\n")
    assert re.search(r"at aten.cat.default 'cat' of stage the graph", said)
    assert re.search(r"eager: aten.cat.default '\d+' gives fp32\[16, 11\]", said)


def test_a_stage_compiled_from_other_weights_is_named(right, subtracts, tmp_path):
    def swap(manifest, entries):
        with_other = subtracts._entries
        for name in [name for name in entries if name.startswith("data/aotinductor/dense/")]:
            del entries[name], manifest["files"][name]
        for name in [name for name in with_other if name.startswith("data/aotinductor/dense/")]:
            entries[name] = subtracts.entry(name)
            manifest["files"][name] = {
                "bytes": len(entries[name]),
                "xxh3": xxhash.xxh3_128_hexdigest(entries[name]),
            }

    corrupt = Artifact(rewrite(right.path, tmp_path / "corrupt.pt2", swap))
    said = told(verify(corrupt, inputs(corrupt), (scorer(0), SCHEMA)))
    assert said.startswith(
        "first fault: compiled stage dense: its code does not compute what its exported program does\n"
    )
    assert "reads embedding/pooled: fp32[16, 8]" in said
    assert re.search(r"largest difference 0\.\d+ at \[\d+\]", said)
    assert "compiled anew, its exported program computes what it says: the code in the artifact is another" in said
    assert "export again to rebuild it" in said


class Mixing:
    """A real engine whose coalescer hands two answers of one size to each other's requests."""

    def __init__(self, path):
        self.engine = start_engine(path)
        self.infer, self.stats, self.stop = self.engine.infer, self.engine.stats, self.engine.stop
        answers: list[Future] = [Future() for _ in range(9)]
        mixed = [answers[place] for place in (0, 4, 2, 3, 1, 5, 6, 7, 8)]
        self.pairs = iter(zip(answers, mixed, strict=True))

    def submit(self, inputs):
        own, other = next(self.pairs)
        self.engine.submit(inputs).add_done_callback(lambda done: other.set_result(done.result()))
        return own


def test_a_coalescer_that_mixes_two_requests_is_named_with_the_requests(right):
    report = verify(right, inputs(right), (scorer(0), SCHEMA), VerifyOptions(start=Mixing))
    said = told(report)
    assert said == (
        "first fault: coalescing\n  request 1 got the answer of request 4\n  request 4 got the answer of request 1"
    )
    assert [step.name for step in report.steps if not step.ok] == [report.steps[-2].name]


def test_bf16_code_may_round_otherwise_than_its_program_but_hides_no_other_weight(export):
    artifact = Artifact(export("tiny_dlrm", "int8", "bf16").path)
    model, schema = tiny_dlrm()
    with torch.no_grad():
        model.get_parameter("dlrm.over_arch.model.0._mlp.0._linear.weight")[0, 0] += 0.01
    report = verify(artifact, inputs(artifact), (model, schema), NO_ENGINE)
    assert "weight 'dlrm.over_arch.model.0._mlp.0._linear.weight' differs" in told(report)
    (code,) = [step for step in report.steps if step.against == "exported stages"]
    assert code.ok
    assert (code.allowed or 0) > 1e-5


def test_a_tolerance_is_a_number():
    with pytest.raises(ValueError, match="tolerance: got -1"):
        VerifyOptions(tolerance=-1)


def test_what_a_mask_makes_infinite_is_no_difference_between_stages_and_nan_is():
    inf, nan = float("inf"), float("nan")
    masked = torch.tensor([1.0, -inf, inf, 2.0])
    assert parity_of([masked], [masked + 0.5]) == Parity(0.5, 0.25)
    assert parity_of([masked], [torch.tensor([1.0, inf, inf, 2.0])]).max == inf
    for other in (torch.tensor([1.0, nan, inf, 2.0]), torch.tensor([nan, -inf, inf, 2.0])):
        assert math.isnan(parity_of([masked], [other]).max)
        assert math.isnan(parity_of([other], [other]).max)
