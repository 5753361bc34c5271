"""A stage that AOTInductor cannot compile: the operator is named with its line, also where AOTInductor names none."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured
from torch._higher_order_ops import while_loop
from torch.fx import GraphModule

from recpile.passes.base import run_passes
from recpile.passes.graph import editable
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.graph_parts import first_uncompiled
from recpile.pycompiler.lower import LowerError, lower
from recpile.pycompiler.schema import Dense

X = Dense("x", (3,))


def doubled_thrice(self, x):
    return while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (torch.tensor(0), x))[1]


def test_an_operator_that_aotinductor_has_not_is_named_with_its_line_and_the_way_out() -> None:
    program = run_passes(captured(Computes(doubled_thrice), X), [SplitStages()])
    with pytest.raises(
        LowerError, match=r"stage 'dense' \(at while_loop .*lower_blame.py:\d+: return while_loop.*with other operators"
    ):
        lower(program.stages[0])


def uses(module: GraphModule, operator: str) -> bool:
    return any(operator in str(node.target) for node in module.graph.nodes)


@pytest.mark.parametrize("operator", ["relu", "tanh", "sigmoid", "exp", "sum"])
def test_the_first_operator_up_to_which_a_graph_does_not_compile_is_found_by_halves(operator: str) -> None:
    program = captured(Computes(lambda self, x: x.relu().tanh().sigmoid().exp().sum(1)), X)
    asked: list[GraphModule] = []

    def compiles(part: GraphModule) -> bool:
        asked.append(part)
        return not uses(part, operator)

    found = first_uncompiled(editable(program.graph), compiles)
    assert found is not None
    assert operator in str(found.target)
    assert len(asked) <= 3


def test_a_graph_without_operators_has_none_to_blame() -> None:
    assert first_uncompiled(editable(captured(Computes(lambda self, x: x), X).graph), lambda part: False) is None
