"""Outputs that cannot be served are refused with the line that returns them, or the operator that makes them."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured
from torch import nn

from recpile.passes.invariants import verify
from recpile.pycompiler.schema import Dense, SchemaError

X = Dense("x", (3,))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "the model returns a NoneType; return a tensor, a tuple of tensors or a dict of them"),
        (lambda x: [(x, x)], r"the model returns a tuple for output 'score'; every output is a tensor"),
        (lambda x: {"score": None}, "the model returns a NoneType for output 'score'"),
        (lambda x: {1: x}, r"the model returns outputs \['1'\]; the schema names \['score'\]"),
    ],
)
def test_outputs_that_are_not_tensors_are_refused(returned, message) -> None:
    with pytest.raises(SchemaError, match=message):
        captured(Computes(lambda self, x: returned(x)), X)


class Branches(nn.Module):
    """Two `return`s; forward hands on what a method gives."""

    def answer(self, x, scores_only=True):
        if not scores_only:
            return x
        return x.sum(1), "v1"

    def forward(self, x):
        return self.answer(x)


def test_the_return_that_was_taken_is_named() -> None:
    with pytest.raises(
        SchemaError,
        match=r"a str for output 'b'.*\n  at return: .*outputs.py:\d+: return x.sum\(1\), \"v1\"",
    ):
        captured(Branches(), X, outputs=("a", "b"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda self, x: x.argmax(1).to(torch.int16), r"is torch.int16 \(by aten._to_copy.*int16\)"),
        (lambda self, x: torch.fft.fft(x), r"is torch.complex64 \(by aten.fft_fft.*torch.fft.fft\(x\)"),
    ],
)
def test_a_type_that_the_wire_has_not_is_named_with_operator_line_and_way_out(function, message) -> None:
    with pytest.raises(ValueError, match=rf"output 'score' {message}.*one of bool, uint8, .*: cast it in the model"):
        verify(captured(Computes(function), X))


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda self, x: x.sum(), "aten.sum.default"),
        (lambda self, x: torch.topk(x.sum(1), 1).indices, "aten.topk.default"),
        (lambda self, x: torch.ones(3), "aten.ones.default"),
    ],
)
def test_an_output_that_is_no_row_a_candidate_is_named_with_the_operator_that_makes_it(function, operator) -> None:
    message = rf"output 'score' is .* \(by {operator} .*refused_outputs.py:\d+: .*: give a row for each"
    with pytest.raises(ValueError, match=message):
        verify(captured(Computes(function), X))
