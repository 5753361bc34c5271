"""Refusals behind the capture name the operator with the line of the model that made it."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, kjt, lookup_nodes
from torch import nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from zoo import collection

from recpile.passes.base import PassError, run_passes
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.lower import blamed
from recpile.pycompiler.schema import Dense
from recpile.pycompiler.source_lines import at, named, source_of

X = Dense("x", (3,))


def helper(x):
    return torch.sigmoid(x)


def test_a_node_is_known_by_the_innermost_line_of_the_model_not_of_torch_or_torchrec():
    def forward(self, x, sparse):
        pooled = self.bags(sparse).values()
        return helper(self.out(torch.cat([x, pooled], dim=1)))

    model = Computes(forward, bags=collection(("t", 5, 4, ["f0"])), out=nn.Linear(7, 1))
    program = captured(model, X, kjt("f0"))
    sources = {node.target: source_of(node) for node in program.graph.graph.nodes}
    assert sources[aten.sigmoid.default].endswith(": return torch.sigmoid(x)")
    assert sources[aten.linear.default].endswith(": return helper(self.out(torch.cat([x, pooled], dim=1)))")
    assert "test_source_lines.py:" in sources[aten.linear.default]
    (lookup,) = lookup_nodes(program)
    assert source_of(lookup).endswith(": pooled = self.bags(sparse).values()")
    (sigmoid,) = [node for node in program.graph.graph.nodes if node.target is aten.sigmoid.default]
    assert named(sigmoid) == f"aten.sigmoid.default 'sigmoid' ({sources[aten.sigmoid.default]})"
    assert at(program.graph.graph.output_node()) == ""


def test_lines_are_still_known_after_all_passes():
    model = Computes(lambda self, x: helper(self.b(torch.relu(self.a(x)))), a=nn.Linear(3, 4), b=nn.Linear(4, 1))
    program = run_passes(captured(model, X), passes(TablePrecision(), "bf16"))
    sources = [source_of(node) for node in program.stages[0].graph.graph.nodes if node.target is aten.sigmoid.default]
    assert [source.endswith(": return torch.sigmoid(x)") for source in sources] == [True]


def test_a_size_that_depends_on_data_is_refused_with_operator_and_line():
    def forward(self, sparse):
        kept = sparse.values()[sparse.values() > 2]
        lengths = torch.ones_like(sparse.lengths())
        return self.bags(KeyedJaggedTensor(keys=["f0"], values=kept, lengths=lengths)).values()

    model = Computes(forward, bags=collection(("t", 5, 4, ["f0"])))
    with pytest.raises(PassError, match=r"aten.index.Tensor .*: kept = .*depends on the data; reorder or filter ids"):
        run_passes(captured(model, kjt("f0")), passes(TablePrecision(), "fp32"))


def test_an_output_that_has_no_row_a_candidate_is_refused_with_its_line():
    def forward(self, x):
        return x.mean()

    with pytest.raises(ValueError, match=r"output 'score' is \[\]; its first axis must be .*: return x.mean\(\)\)"):
        verify(captured(Computes(forward), X))


def test_an_operator_that_cannot_be_lowered_is_named_with_its_line():
    program = run_passes(captured(Computes(lambda self, x: helper(x)), X), passes(TablePrecision(), "fp32"))
    (stage,) = program.stages
    said = "LoweringException: NotImplementedError: no lowering\n  target: aten.sigmoid.default\n  args[0]: TensorBox"
    assert blamed(stage, said).startswith(" (at aten.sigmoid.default 'sigmoid' (")
    assert ": return torch.sigmoid(x)); write it with other operators" in blamed(stage, said)
    assert blamed(stage, "RuntimeError: out of memory") == ""
    assert "install g++" in blamed(stage, "InvalidCxxCompiler: No working C++ compiler found")
