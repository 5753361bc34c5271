"""RemoveIdentities: a chain of views that ends in the shape it began with is its beginning."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, Towers, aten, captured, count, farthest, kjt, lookup_calls
from torch import Tensor, nn
from zoo import collection

from recpile.passes.invariants import verify
from recpile.passes.remove_identities import RemoveIdentities
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense

VIEWS = (aten.view.default, aten.reshape.default)


def one_lookup() -> tuple[nn.Module, Program]:
    model = Towers(collection(("a", 5, 4, ["f0"]), ("b", 7, 4, ["f1"])))
    return model, captured(model, kjt("f0", "f1"))


def of_x(function) -> tuple[nn.Module, Program]:
    """A model of one dense input x [B, 6]."""
    model = Computes(lambda self, x: function(x))
    return model, captured(model, Dense("x", (6,)))


def test_lengths_that_are_flattened_and_unflattened_go_straight_to_the_lookup() -> None:
    model, program = one_lookup()
    assert count(program, *VIEWS) == 2
    result = RemoveIdentities().run(program)
    verify(result.program)
    assert result.changed
    assert count(result.program, *VIEWS) == 0
    (call,) = lookup_calls(result.program)
    assert [lengths and lengths.op for lengths in call.lengths] == ["placeholder"]
    assert farthest(model, result.program) == 0


def test_the_log_names_the_view_and_what_it_is_again() -> None:
    _, program = one_lookup()
    log = RemoveIdentities().run(program).program.log
    assert {note.did for note in log} == {True}
    assert {note.reason for note in log} == {"is 'flat_sparse_lengths' again"}


def test_a_second_run_changes_nothing() -> None:
    _, program = one_lookup()
    once = RemoveIdentities().run(program).program
    again = RemoveIdentities().run(once)
    assert not again.changed
    assert again.program.graph is once.graph
    assert again.program.log == once.log


def test_the_program_that_was_given_is_left_as_it_was() -> None:
    _, program = one_lookup()
    before = str(program.graph.graph)
    RemoveIdentities().run(program)
    assert str(program.graph.graph) == before


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(-1, 2, 3).transpose(1, 2).reshape(-1, 6),
        lambda x: x.view(-1, 3, 2).sum(dim=2),
        lambda x: x.view(-1, 2, 3),
    ],
    ids=["something between the views", "does not come back", "another shape"],
)
def test_views_that_give_something_else_are_left(function) -> None:
    model, program = of_x(function)
    result = RemoveIdentities().run(program)
    assert not result.changed
    assert count(result.program, *VIEWS) == count(program, *VIEWS) > 0
    assert farthest(model, result.program) == 0


def test_a_beginning_that_is_not_contiguous_is_left() -> None:
    # x.t() has the shape of the chain's end, but its rows lie apart in memory: a reader may tell the two apart.
    model, program = of_x(lambda x: x.t().reshape(-1).view(6, -1).t())
    result = RemoveIdentities().run(program)
    assert not result.changed
    assert farthest(model, result.program) == 0


def test_a_view_half_way_stays_where_something_else_reads_it() -> None:
    def both(x: Tensor) -> Tensor:
        halves = x.view(-1, 2, 3)
        return halves.view(-1, 6) + halves.sum(dim=1).repeat(1, 2)

    model, program = of_x(both)
    result = RemoveIdentities().run(program)
    assert result.changed
    assert count(result.program, *VIEWS) == 1
    assert farthest(model, result.program) == 0


def test_a_chain_is_cut_back_to_its_earliest_equal() -> None:
    model, program = of_x(lambda x: x.view(-1, 2, 3).view(-1, 6).view(-1, 3, 2).reshape(-1, 6) * 2)
    result = RemoveIdentities().run(program)
    assert count(result.program, *VIEWS) == 0
    assert farthest(model, result.program) == 0


def test_a_model_without_views_is_left_and_nothing_is_logged() -> None:
    _, program = of_x(lambda x: torch.sigmoid(x))
    result = RemoveIdentities().run(program)
    assert not result.changed
    assert result.program is program
