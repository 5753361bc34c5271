"""What a model keeps from one call to the next, or takes from elsewhere, is refused with the operator or line."""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
import pytest
import torch
from compiler.graphs import Computes, captured
from torch import nn

from recpile.passes.base import run_passes
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.exactness import Step, check_steps
from recpile.pycompiler.quality import ParityError
from recpile.pycompiler.schema import Dense, Jagged
from recpile.pycompiler.swap import CaptureError

X = Dense("x", (3,))
NUMPY, PYTHON, TICKS = np.random.default_rng(0), random.Random(0), itertools.count()


def checked(model: nn.Module, *inputs) -> None:
    """The capture, and its comparison with the model."""
    program = captured(model, *(inputs or [X]))
    steps = [Step("the capture", True, program), Step("pass SplitStages", True, run_passes(program, [SplitStages()]))]
    check_steps(model, program.schema, steps, None)


def drawn_by_a_generator(self, x):
    return x * float(NUMPY.random())


def drawn_as_an_array(self, x):
    return x * torch.from_numpy(NUMPY.random(3))


def drawn_by_a_random(self, x):
    return x + PYTHON.random()


def drawn_by_the_system(self, x):
    return x + random.SystemRandom().random()


def counted(self, x):
    return x * next(TICKS)


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (drawn_by_a_generator, r"aten.mul.Tensor 'mul' .*float\(NUMPY.random\(\)\)"),
        (drawn_as_an_array, r"aten.clone.default 'clone' .*torch.from_numpy\(NUMPY.random\(3\)\)"),
        (drawn_by_a_random, r"aten.add.Tensor 'add\w*' .*PYTHON.random\(\)"),
        (drawn_by_the_system, r"aten.add.Tensor 'add\w*' .*SystemRandom\(\).random\(\)"),
        (counted, r"aten.mul.Tensor 'mul' .*x \* next\(TICKS\)"),
    ],
)
def test_a_number_that_differs_from_call_to_call_is_named_with_its_operator_and_line(function, line) -> None:
    with pytest.raises(ParityError, match=rf"At {line}.* another number each time .*under self.training only"):
        checked(Computes(function))


class Remembers(nn.Module):
    """Assigns a buffer anew: torch.export takes it for the value that it had."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1
        return x - self.mean


def test_a_buffer_that_is_assigned_anew_is_refused_with_the_line() -> None:
    with pytest.raises(CaptureError, match=r"its buffer 'mean' when it runs \(.*: self.mean = 0.9 .* local variable"):
        captured(Remembers(), X)


class Counts(nn.Module):
    """Answers otherwise from the third call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 3:
            return x * 2
        return x.clone()


def test_an_attribute_that_forward_sets_and_reads_is_named() -> None:
    with pytest.raises(ParityError, match=r"(?s)sets attributes.*'calls': .*hidden_state.py:\d+: self.calls \+= 1"):
        checked(Counts().eval())


def multiplied_in_place(self, x):
    hidden = self.layer(x)
    self.layer.weight.data.mul_(0.9)
    return self.layer(hidden)


def assigned(self, x):
    self.layer.weight.data = self.layer.weight.data * 0.9
    return self.layer(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            multiplied_in_place,
            r"changes its weight 'layer.weight' when it runs \(.*: self.layer.weight.data.mul_\(0.9\)",
        ),
        (assigned, r"assigns a tensor's .data when it runs \(.*: self.layer.weight.data = .*a new tensor instead"),
    ],
)
def test_a_write_through_data_is_refused_with_its_line(function, message) -> None:
    with pytest.raises(CaptureError, match=message):
        captured(Computes(function, layer=nn.Linear(3, 3)), X)


def test_a_weight_that_is_only_read_through_data_is_a_weight() -> None:
    model = Computes(lambda self, x: x @ self.layer.weight.data.t(), layer=nn.Linear(3, 2))
    checked(model)


@functools.cache
def positions(count: int) -> torch.Tensor:
    return torch.arange(count).float()


def test_a_tensor_that_is_kept_outside_of_the_model_is_refused_with_the_line_that_reads_it() -> None:
    model = Computes(lambda self, x: x * positions(3))
    with pytest.raises(
        ParityError, match=r"at aten.mul.Tensor \(.*x \* positions.* kept from another .*register_buffer"
    ):
        checked(model)
    with pytest.raises(CaptureError, match=r"(?s)\n  at a kept tensor: .*x \* positions.*register_buffer"):
        captured(model, X)


def only_when_exported(self, x):
    if torch.compiler.is_compiling():
        return x.exp()
    return x.tanh()


def test_where_nothing_else_is_known_the_operator_at_which_the_graph_parts_is_named() -> None:
    with pytest.raises(ParityError, match=r"They part at aten.exp.default 'exp' \(.*: return x.exp\(\)\)"):
        checked(Computes(only_when_exported))


def spread(self, ids):
    row = torch.repeat_interleave(torch.arange(ids.lengths().shape[0]), ids.lengths())
    return torch.zeros(ids.lengths().shape[0]).index_add(0, row, ids.values().float())


def test_a_size_that_torch_guesses_is_named_with_its_line_and_the_way_out() -> None:
    with pytest.raises(
        ParityError, match=r"of .*: row = torch.repeat_interleave\(.*repeat_interleave takes output_size"
    ):
        checked(Computes(spread), Jagged("ids"))


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda self, x: torch.log(-1 - x), r"NaN, first from aten.log.default \(.*torch.log\(-1 - x\)"),
        (lambda self, x: x[:, 0] / 0, "infinity, first from aten.div.Tensor"),
        (lambda self, x: x.masked_fill(x < 99, float("-inf")).softmax(1), "NaN, first from aten._softmax.default"),
    ],
)
def test_a_model_that_answers_nan_itself_is_refused_with_the_operator(function, what) -> None:
    with pytest.raises(ParityError, match=rf"the model itself answers {what}.*--eval-data"):
        checked(Computes(function))


def test_what_eager_cannot_run_is_said_with_the_line() -> None:
    model = Computes(lambda self, x: self.out(x), out=nn.Linear(3, 1).double())
    with pytest.raises(ParityError, match=r"checked on random inputs: mat1 .*Double \(.*: model = Computes"):
        checked(model)
