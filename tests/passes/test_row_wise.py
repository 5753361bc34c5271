"""Which operators keep rows apart, and where the rows lie: tried out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from compiler.graphs import Computes, captured
from torch import Tensor
from torch.fx import Node

from recpile.passes.graph import editable
from recpile.passes.row_axis import RowAxis
from recpile.passes.row_wise import RowWise, row_wise
from recpile.pycompiler.schema import Dense

AXIS = RowAxis()
Function = Callable[[Tensor], Tensor]


def tried(
    name: str, function: Callable[[Tensor], Tensor], axis: RowAxis = AXIS, sizes: tuple = (4, 6)
) -> RowWise | None:
    """What is found of the operator `name` in a function of x [B, *sizes]; the rows of what it reads lie in `axis`."""
    program = captured(Computes(lambda self, x: function(x).sum() + x.flatten(1).sum(1)), Dense("x", sizes))
    graph = editable(program.graph).graph
    (x,) = (node for node in graph.nodes if node.op == "placeholder")
    node = next(node for node in graph.nodes if node.op == "call_function" and f"aten.{name}." in str(node.target))
    return row_wise(node, dict.fromkeys(node.all_input_nodes, axis), x.meta["val"].shape[0].node.expr, no_constant)


def no_constant(node: Node) -> Tensor:
    pytest.fail(f"{node} is no constant")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cumsum", lambda x: x.cumsum(0)),
        ("softmax", lambda x: x.softmax(0)),
        ("sort", lambda x: x.sort(0)[0]),
        ("flip", lambda x: x.flip(0)),
        ("roll", lambda x: x.roll(1, 0)),
        ("mean", lambda x: x.mean(0)),
    ],
)
def test_what_mixes_rows_is_found_out(name: str, function: Function) -> None:
    assert tried(name, function) is None


def test_whole_numbers_are_tried_often_enough() -> None:
    """The largest so far, of four rows of one truth value each, is the row itself in 5 of 16 cases."""
    assert tried("cummax", lambda x: (x > 0).cummax(0)[0], sizes=(1,)) is None


def test_rows_stay_on_the_axis_where_they_are() -> None:
    found = tried("relu", lambda x: x.transpose(0, 1).relu(), RowAxis(1))
    assert found is not None
    assert found.axes == (RowAxis(1),)


def test_rows_merged_behind_another_axis_are_found_by_the_answers() -> None:
    """[4, B, 6] seen as [4 * B, 6]: a row is in four places."""
    found = tried("_unsafe_view", lambda x: x.transpose(0, 1).reshape(-1, 6), RowAxis(1))
    assert found is not None
    assert found.axes == (RowAxis(0, outer=4),)


def test_rows_merged_in_front_of_another_axis_are_found_by_the_answers() -> None:
    """[B, 4, 6] seen as [B * 4, 6]: a row is four in a row."""
    found = tried("view", lambda x: x.view(-1, 6).relu())
    assert found is not None
    assert found.axes == (RowAxis(0, inner=4),)


def test_products_are_counted_for_one_row() -> None:
    found = tried("bmm", lambda x: torch.bmm(x, x.transpose(1, 2)))
    assert found is not None
    assert found.flops == 2 * 4 * 4 * 6


def test_a_row_taken_apart_has_its_own_places() -> None:
    value = torch.arange(12).reshape(6, 2)
    assert RowAxis(0, outer=2, inner=1).apart(value).tolist()[1] == [[2, 3], [8, 9]]
    assert RowAxis(0, outer=1, inner=2).apart(value).tolist()[1] == [[4, 5], [6, 7]]
