"""SplitRequestColumns: the request's columns of a layer are multiplied once a request."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, reasons
from compiler.two_axes import farthest, repeats
from torch import nn

from recpile.passes.base import run_passes
from recpile.passes.hoist_request_side import HoistRequestSide
from recpile.passes.linears import LINEAR
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.split_request_columns import SplitRequestColumns
from recpile.pycompiler.capture import capture
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense, Input, InputSchema

USER, ITEM, PRICE = Dense("user", (24,), axis="request"), Dense("item", (8,)), Dense("price", (3,))


MANY = 1_000_000  # candidates: enough that a layer this small is worth it


def captured(model: nn.Module, *inputs: Input, candidates: int = MANY) -> Program:
    return capture(model.eval(), InputSchema(inputs, candidates=candidates), "small")


def split(model: nn.Module, *inputs: Input, candidates: int = MANY, dtype: str = "fp32") -> Program:
    program = captured(model, *inputs, candidates=candidates)
    return run_passes(program, [RemoveIdentities(), HoistRequestSide(), SplitRequestColumns(dtype)])


def layers(program: Program) -> list[list[str]]:
    """The shapes of what linear layers read, rows left out."""
    nodes = [node for node in program.graph.graph.nodes if node.target is LINEAR]
    return [[str(size) for size in node.args[0].meta["val"].shape[1:]] for node in nodes]


def over(*order: str) -> nn.Module:
    sizes = {"user": 24, "item": 8, "price": 3}
    layer = nn.Linear(sum(sizes[name] for name in order), 5)
    return Computes(lambda self, **by: torch.relu(self.layer(torch.cat([by[name] for name in order], 1))), layer=layer)


def staged(model: nn.Module, *inputs: Input) -> Program:
    return run_passes(captured(model, *inputs), passes(TablePrecision(), "fp32"))


def test_the_requests_columns_are_multiplied_once_a_request_and_added() -> None:
    program = split(over("user", "item"), USER, ITEM)
    assert layers(program) == [["24"], ["8"]]
    assert repeats(program) == [["5"]]
    kinds = [node.target for node in program.graph.graph.nodes if node.op == "call_function"]
    assert kinds == [LINEAR, LINEAR, aten.index_select.default, aten.add.Tensor, aten.relu.default]


def test_columns_in_any_order_keep_their_weights() -> None:
    for order in (("user", "item", "price"), ("item", "user", "price"), ("price", "item", "user")):
        model, inputs = over(*order), (USER, ITEM, PRICE)
        whole = staged(model, *inputs)
        assert layers(split(model, *inputs))[1] == ["11"]
        assert farthest(model, split(model, *inputs), whole) < 1e-6
        assert farthest(model, whole, whole) < 1e-6


def test_the_report_says_what_that_saves() -> None:
    (reason,) = reasons(split(over("user", "item"), USER, ITEM), "SplitRequestColumns", did=True).values()
    assert reason == f"24 of 32 columns once a request: at {MANY} candidates {2 * 24 * 5 * (MANY - 1):,} FLOPs less"


def wide() -> nn.Module:
    layer = nn.Linear(384 + 128, 512)
    return Computes(lambda self, user, item: torch.relu(self.layer(torch.cat([user, item], 1))), layer=layer)


@pytest.mark.parametrize(("candidates", "dtype", "cut"), [(1, "fp32", False), (200, "fp32", True), (200, "bf16", True)])
def test_it_is_done_where_the_candidates_of_a_request_save_more_than_a_layer_costs(candidates, dtype, cut) -> None:
    inputs = (Dense("user", (384,), axis="request"), Dense("item", (128,)))
    program = split(wide(), *inputs, candidates=candidates, dtype=dtype)
    assert layers(program) == ([["384"], ["128"]] if cut else [["512"]])


def test_a_request_of_few_candidates_is_declined_with_what_it_would_save_and_cost() -> None:
    program = split(over("user", "item"), USER, ITEM, candidates=5)
    (reason,) = reasons(program, "SplitRequestColumns", did=False).values()
    cost = SplitRequestColumns().cost
    assert reason == (
        f"24 of 32 columns once a request: at 5 candidates {2 * 24 * 5 * 4} FLOPs less, and one more layer "
        f"takes as long as {cost:,}"
    )


def test_few_columns_are_not_worth_it() -> None:
    program = split(over("price", "item"), Dense("price", (3,), axis="request"), ITEM)
    assert layers(program) == [["11"]]
    (reason,) = reasons(program, "SplitRequestColumns", did=False).values()
    assert reason == "3 of its columns are the request's: splitting it would not be less work"


def test_without_request_inputs_there_is_nothing_to_do() -> None:
    program = split(over("item", "price"), ITEM, PRICE)
    assert reasons(program, "SplitRequestColumns", did=False) == {"layers": "no input is on the request axis"}


def test_a_second_run_changes_nothing() -> None:
    assert not SplitRequestColumns().run(split(over("user", "item"), USER, ITEM)).changed


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="dense dtype: got 'fp8'; use one of fp32, bf16"):
        SplitRequestColumns("fp8")
