"""A compiled stage that does not compute what its program says: the operator is found by lowering parts of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from compiler.graphs import Computes, aten, kjt
from torch import nn
from torch._inductor import lowering
from zoo import collection

from recpile.passes.graph import editable
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.graph_parts import cut
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import Dense, InputSchema
from recpile.pycompiler.verify import VerifyOptions, verify

SCHEMA = InputSchema([Dense("x", (3,)), kjt("f0")])


def score(self, x, sparse):
    hidden = self.hidden(torch.cat([x, self.bags(sparse).values()], dim=1))
    bent = torch.tanh(hidden)
    return self.out(bent).squeeze(1)


def scorer() -> nn.Module:
    torch.manual_seed(0)
    bags = collection(("a", 50, 4, ["f0"]))
    return Computes(score, bags=bags, hidden=nn.Linear(7, 8), out=nn.Linear(8, 1)).eval()


def line_of(text: str) -> str:
    source = Path(__file__).read_text().splitlines()
    return (
        rf"test_compiled_code.py:{1 + source.index(next(line for line in source if text in line))}: {re.escape(text)}"
    )


class Chain(nn.Module):
    def forward(self, x):
        first, second = torch.relu(x), torch.tanh(x)
        return (first + second) * first


def test_a_graph_is_cut_so_that_it_gives_what_the_rest_reads():
    module = editable(torch.export.export(Chain(), (torch.ones(3),)))
    operators = [node for node in module.graph.nodes if node.op == "call_function"]
    assert [node.name for node in operators] == ["relu", "tanh", "add", "mul"]
    x = torch.tensor([-1.0, 0.5, 2.0])
    relu, tanh = x.relu(), x.tanh()
    gives = {1: ["relu"], 2: ["relu", "tanh"], 3: ["relu", "add"], 4: ["mul"]}
    values = {"relu": relu, "tanh": tanh, "add": relu + tanh, "mul": (relu + tanh) * relu}
    for count, names in gives.items():
        part, given = cut(module, operators, count)
        assert [node.name for node in given] == names
        assert all(torch.equal(a, values[name]) for a, name in zip(part(x), names, strict=True))


@pytest.mark.slow
def test_a_wrong_compiler_is_caught_at_the_operator_that_it_compiles_wrongly(tmp_path, monkeypatch):
    monkeypatch.setitem(lowering.lowerings, aten.tanh.default, lowering.lowerings[aten.sin.default])
    # int8: of fp32 tables the export itself would have noticed.
    compile_model(scorer(), SCHEMA, tmp_path / "wrong.pt2", CompileOptions("wrong", tables=TablePrecision("int8")))
    artifact, heard = Artifact(tmp_path / "wrong.pt2"), []
    inputs = random_inputs(artifact.manifest, 16)
    report = verify(artifact, inputs, (scorer(), SCHEMA), VerifyOptions(engine=False, progress=heard.append))
    said = str(report.finding)
    assert said.startswith(
        "first fault: compiled stage dense: its code does not compute what its exported program does"
    )
    assert re.search(
        r"compiled anew it is wrong too, from here on: aten.tanh.default 'tanh' of stage dense \(.*"
        + line_of("bent = torch.tanh(hidden)"),
        said,
    )
    assert "reads linear" in said
    assert re.search(r"its code gives fp32\[16, 8\] -?\d", said)
    assert re.search(r"the operator gives fp32\[16, 8\] -?\d", said)
    assert re.search(r"largest difference \S+ at \[\d+, \d\]: \S+ instead of \S+$", said)
    assert heard[0] == "stage dense: lowered again"
    assert re.fullmatch(r"stage dense: lowered up to '\w+', operator \d of \d+", heard[1])
