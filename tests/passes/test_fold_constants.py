"""FoldConstants: what depends on weights and constants only is computed at export."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compiler.graphs import Computes, aten, captured, count, farthest, kjt, reasons
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from zoo import collection

from recpile.passes.fold_constants import FoldConstants
from recpile.passes.invariants import verify
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def normalized() -> tuple[nn.Module, Program]:
    """A layer whose weight is normalized whenever it is used, and a scale of constants."""

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.arange(6) / torch.full((6,), 6.0)
        return F.linear(x * scale, F.normalize(self.layer.weight, dim=1), self.layer.bias)

    torch.manual_seed(0)
    model = Computes(forward, layer=nn.Linear(6, 4))
    return model, captured(model, Dense("x", (6,)))


def operators(program: Program) -> list[str]:
    return [str(node.target).split(".")[1] for node in program.graph.graph.nodes if node.op == "call_function"]


def test_a_weight_that_is_computed_becomes_a_weight() -> None:
    model, program = normalized()
    assert "linalg_vector_norm" in operators(program)
    result = FoldConstants().run(program)
    verify(result.program)
    assert result.changed
    assert operators(result.program) == ["mul", "linear"]
    assert farthest(model, result.program) == 0


def test_the_log_says_the_bytes_it_takes_and_frees() -> None:
    _, program = normalized()
    did = reasons(FoldConstants().run(program).program, "FoldConstants", did=True)
    assert list(did.values()) == [
        "aten.div.Tensor is 24 bytes, and frees 0",
        "aten.div.Tensor is 96 bytes, and frees 96",
    ]


def test_weights_that_nothing_reads_any_more_are_forgotten() -> None:
    _, program = normalized()
    after = FoldConstants().run(program).program
    shapes = sorted(list(value.shape) for value in after.graph.state_dict.values())
    assert shapes == [[4], [4, 6], [6]]


def test_a_second_run_changes_nothing() -> None:
    _, program = normalized()
    once = FoldConstants().run(program).program
    again = FoldConstants().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


def test_weight_norm_as_pytorch_does_it_is_folded() -> None:
    torch.manual_seed(0)
    model = Computes(lambda self, x: self.layer(x), layer=weight_norm(nn.Linear(6, 4)))
    after = FoldConstants().run(captured(model, Dense("x", (6,)))).program
    assert operators(after) == ["linear"]
    assert farthest(model, after) == 0


def test_the_program_that_was_given_is_left_as_it_was() -> None:
    _, program = normalized()
    before, weights = str(program.graph.graph), set(program.graph.state_dict)
    FoldConstants().run(program)
    assert str(program.graph.graph) == before
    assert set(program.graph.state_dict) == weights


def test_what_would_make_the_artifact_larger_by_more_than_the_limit_is_declined() -> None:
    model = Computes(lambda self, x: (x.unsqueeze(1) * torch.exp(self.rows).expand(100, 6)).sum(1))
    model.rows = nn.Parameter(torch.ones(1, 6))
    program = captured(model, Dense("x", (6,)))
    assert FoldConstants(growth=2376).run(program).changed
    result = FoldConstants(growth=2375).run(program)
    assert not result.changed
    assert reasons(result.program, "FoldConstants", did=False) == {
        "expand": "would be 2,400 bytes, over 2,375 more than the 24 it frees"
    }


def test_a_view_of_a_weight_that_others_read_is_declined() -> None:
    model = Computes(lambda self, x: (x @ self.layer.weight.t()) @ self.layer.weight, layer=nn.Linear(6, 4, bias=False))
    result = FoldConstants().run(captured(model, Dense("x", (6,))))
    assert not result.changed
    assert reasons(result.program, "FoldConstants", did=False) == {"t": "is a view of a weight that others read too"}


def test_a_transposed_weight_that_nothing_else_reads_is_kept_transposed() -> None:
    model = Computes(lambda self, x: x @ self.layer.weight.t(), layer=nn.Linear(6, 4, bias=False))
    after = FoldConstants().run(captured(model, Dense("x", (6,)))).program
    assert count(after, aten.t.default) == 0
    assert [list(value.shape) for value in after.graph.state_dict.values()] == [[6, 4]]
    assert farthest(model, after) < 1e-6


@pytest.mark.parametrize(
    "function",
    [lambda x: x * torch.arange(6), lambda x: x + torch.zeros_like(x) * 2],
    ids=["a bare factory", "the batch's size"],
)
def test_what_is_no_constant_worth_storing_stays(function) -> None:
    result = FoldConstants().run(captured(Computes(lambda self, x: function(x)), Dense("x", (6,))))
    assert not result.changed


def test_tables_are_not_folded() -> None:
    def forward(self, sparse) -> Tensor:
        table = self.bags.embedding_bags["t"].weight
        return self.bags(sparse).values() @ (table * 2).t()

    program = captured(Computes(forward, bags=collection(("t", 5, 4, ["f0"]))), kjt("f0"))
    assert not FoldConstants().run(program).changed


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="growth: got -1 bytes; use 0 or more"):
        FoldConstants(growth=-1)
