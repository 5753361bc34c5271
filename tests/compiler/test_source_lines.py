"""Refusals behind the capture name the operator with the line of the model that made it."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, kjt, lookup_nodes
from torch import nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from zoo import collection

from recpile.passes.base import PassError, run_passes
from recpile.passes.batch_tables import BatchTables
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.passes.remove_identities import RemoveIdentities
from recpile.pycompiler.lower import blamed
from recpile.pycompiler.schema import Dense
from recpile.pycompiler.source_lines import at, come_from, named, source_of

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


def test_a_merged_lookup_has_the_lines_of_all_that_it_was_merged_from():
    def forward(self, sparse):
        left = self.left(sparse).values()
        right = self.right(sparse).values()
        return torch.cat([left, right], dim=1)

    parts = {"left": collection(("a", 5, 4, ["f0"])), "right": collection(("b", 5, 4, ["f1"]))}
    program = run_passes(captured(Computes(forward, **parts), kjt("f0", "f1")), [RemoveIdentities(), BatchTables()])
    (lookup,) = lookup_nodes(program)
    lines = source_of(lookup).split("; ")
    assert [line.partition(": ")[2] for line in lines] == [
        "left = self.left(sparse).values()",
        "right = self.right(sparse).values()",
    ]


def test_every_operator_that_passes_make_has_a_line_of_the_model():
    def forward(self, x, ids, sparse):
        looked_up = [self.city(ids[:, 0]), self.bags(sparse).values()]
        hidden = torch.relu(self.norm(self.first(torch.cat([x, *looked_up], dim=1))))
        return self.out(torch.stack([expert(hidden) for expert in self.experts], dim=1).sum(1))

    model = Computes(
        forward,
        city=nn.Embedding(9, 4),
        bags=collection(("a", 5, 4, ["f0"]), ("b", 5, 4, ["f1"])),
        first=nn.Linear(15, 8),
        norm=nn.BatchNorm1d(8),
        experts=nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(2)]),
        out=nn.Linear(4, 1),
    )
    program = captured(model, X, Dense("ids", (2,), torch.int64), kjt("f0", "f1"))
    done = run_passes(program, passes(TablePrecision(), "bf16"))
    nodes = [node for stage in done.stages for node in stage.graph.graph.nodes if node.op == "call_function"]
    assert [str(node.target) for node in nodes if not source_of(node)] == []


def test_many_lines_are_counted():
    graph = torch.fx.Graph()
    nodes = [graph.call_function(torch.relu) for _ in range(5)]
    for i, node in enumerate(nodes):
        node.meta["stack_trace"] = f'File "model.py", line {i}, in forward'
    come_from(nodes[0], *nodes)
    assert source_of(nodes[0]) == "model.py:0; model.py:1; model.py:2; and 2 more"


@pytest.mark.proves("TorchRec", "KJT built inside", "refusal")
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

    with pytest.raises(
        ValueError,
        match=r"is \[\] \(by aten.mean.default .*: return x.mean\(\)\)\); its first axis must be .* give a row",
    ):
        verify(captured(Computes(forward), X))


def test_an_operator_that_cannot_be_lowered_is_named_with_its_line():
    program = run_passes(captured(Computes(lambda self, x: helper(x)), X), passes(TablePrecision(), "fp32"))
    (stage,) = program.stages
    said = "LoweringException: NotImplementedError: no lowering\n  target: aten.sigmoid.default\n  args[0]: TensorBox"
    assert blamed(stage, said).startswith(" (at aten.sigmoid.default 'sigmoid' (")
    assert ": return torch.sigmoid(x)); write it with other operators" in blamed(stage, said)
    assert blamed(stage, "RuntimeError: out of memory") == ""
    assert "install g++" in blamed(stage, "InvalidCxxCompiler: No working C++ compiler found")
