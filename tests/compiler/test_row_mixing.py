"""Where the rows of a batch meet: the operators are named with their lines, and no others."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compiler.graphs import Computes, captured, kjt
from torch import nn
from zoo import collection

from recpile.pycompiler.row_mixing import mixing_operators
from recpile.pycompiler.schema import Dense

X = Dense("x", (3,))


@pytest.mark.parametrize(
    ("function", "operators"),
    [
        (lambda self, x: x / x.shape[0], ["aten.div"]),
        (lambda self, x: torch.softmax(x, dim=0), ["aten.softmax"]),
        (lambda self, x: x - x.mean(), ["aten.mean"]),
        (lambda self, x: x + x.sum(0), ["aten.sum"]),
        (lambda self, x: x + torch.arange(x.shape[0]).unsqueeze(1), ["aten.arange"]),
        (lambda self, x: x + torch.cumsum(x, 0), ["aten.cumsum"]),
        (lambda self, x: x + x[0], ["aten.select"]),
        (lambda self, x: x[torch.argsort(x[:, 0])], ["aten.argsort", "aten.index"]),
        (lambda self, x: torch.sort(x, dim=0).values, ["aten.sort"]),
        (lambda self, x: x.index_add(0, torch.zeros_like(x[:, 0]).long(), x), ["aten.index_add"]),
        (lambda self, x: x * torch.unique(x).sum(), ["aten._unique2"]),
        (lambda self, x: F.scaled_dot_product_attention(x[None], x[None], x[None])[0], ["aten.scaled_dot_product"]),
        (lambda self, x: (x @ x.t()) @ x, ["aten.matmul"]),
        (lambda self, x: torch.softmax(x, dim=1) - x.mean(1, keepdim=True), []),
    ],
)
def test_operators_that_mix_rows_are_named_with_their_line(function, operators) -> None:
    program = captured(Computes(function), X)
    lines = mixing_operators(program.graph, program.schema).strip().splitlines()
    assert [line.strip().startswith(name) for line, name in zip(lines, operators, strict=True)] == [True] * len(lines)
    assert all("test_row_mixing.py:" in line for line in lines)


def test_lookups_and_layers_mix_nothing() -> None:
    model = Computes(
        lambda self, x, sparse: torch.sigmoid(self.out(torch.cat([x, self.bags(sparse).values()], dim=1))).squeeze(1),
        bags=collection(("a", 5, 4, ["f0"])),
        out=nn.Linear(7, 1),
    )
    program = captured(model, X, kjt("f0"))
    assert mixing_operators(program.graph, program.schema) == ""
