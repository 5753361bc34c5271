"""The parts of verify: types from a manifest, the first operator that differs, rounding, and whose answer it is."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recpile.passes.graph import editable
from recpile.pycompiler.debugging.operators import GraphRunner
from recpile.pycompiler.parity.first_operator import Run, first_operator
from recpile.pycompiler.parity.rebuild import precisions
from recpile.pycompiler.parity.rounding import Roundings, allowed_rounding
from recpile.pycompiler.parity.through_engine import Answered, mixed_up


def test_types_of_tables_and_layers_are_those_of_the_manifest():
    layers = [
        {"name": "over.0", "dtype": "int8"},
        {"name": "over[1]", "dtype": "bf16"},
        {"name": "out", "dtype": "fp32"},
    ]
    manifest = {
        "tables": [{"name": "user*", "dtype": "int4"}, {"name": "user_2", "dtype": "fp16"}],
        "stages": [{"name": "e", "kind": "embedding"}, {"name": "dense", "kind": "compiled", "layers": layers}],
    }
    tables, dense = precisions(manifest)
    assert [tables.of(name) for name in ("user*", "user_2", "other")] == ["int4", "fp16", "fp32"]
    assert [dense.of("dense", one["name"]) for one in layers] == ["int8", "bf16", "fp32"]


class Chain(nn.Module):
    """Two roads to the same sum; `wrong` is what one operator of them gives too much."""

    def __init__(self, merged: bool = False, wrong: float = 0.0) -> None:
        super().__init__()
        self.merged, self.wrong = merged, wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        doubled = x * 2 if self.merged else x + x
        tanh = torch.tanh(doubled) + self.wrong if self.wrong else torch.tanh(doubled)
        return torch.relu(tanh) * 3


def ran(module: nn.Module) -> Run:
    calls: list = []
    exported = torch.export.export(module, (torch.ones(3),))
    x = torch.tensor([-1.0, 0.25, 2.0])
    return Run(calls, tuple(GraphRunner(exported, "s").run([x], calls.append)))


def test_runs_by_other_operators_agree_if_their_values_do():
    assert first_operator(ran(Chain()), ran(Chain(merged=True))) is None


def test_the_first_operator_whose_value_is_new_is_found_behind_others_that_differ_in_name():
    found = first_operator(ran(Chain()), ran(Chain(merged=True, wrong=0.5)))
    assert found is not None
    assert (found.got.name, found.got.operator) == ("add", "aten.add.Tensor")
    assert list(found.got.inputs) == ["tanh"]


class Halves(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return ((x.to(torch.float16) + 1).to(torch.float32),)


def test_what_16_bits_cost_is_measured_on_the_inputs_and_an_int8_step_is_allowed():
    exported = torch.export.export(Halves(), (torch.ones(2),))
    x = torch.tensor([0.1, 1000.3])
    gave = list(Halves()(x))
    rounding = float((x + 1 - gave[0]).abs().max())
    assert rounding > 0.1
    assert allowed_rounding(exported, [x], gave, int8=False) == 2 * rounding
    assert allowed_rounding(exported, [x], gave, int8=True) == float(gave[0].max()) / 127


def test_what_16_bits_cost_each_operator_is_known_by_its_name():
    module = editable(torch.export.export(Halves(), (torch.ones(2),)))
    x = torch.tensor([0.1, 1000.3])
    half = x.half() + 1
    exact, int8 = Roundings(module, [x], int8=False), Roundings(module, [x], int8=True)
    assert exact.allowed("add", half) == 2 * float((x + 1 - half.float()).abs().max())
    assert int8.allowed("add", half) == float(half.max()) / 127


class Codes(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x.round().to(torch.int8),)


def test_a_code_may_be_one_off():
    module = editable(torch.export.export(Codes(), (torch.ones(2),)))
    (cast,) = [node.name for node in module.graph.nodes if "int8" in str(node.args) + str(node.kwargs)]
    x = torch.tensor([0.4, -100.3])
    assert Roundings(module, [x], int8=True).allowed(cast, *Codes()(x)) == 1.0
    assert Roundings(module, [x], int8=False).allowed(cast, *Codes()(x)) == 0.0


def test_rows_that_came_from_another_request_are_traced_to_it():
    alone = [{"score": np.array([0.1, 0.2])}, {"score": np.array([0.3])}, {"score": np.array([0.4])}]
    mixed = [{"score": np.array([0.1, 0.3])}, {"score": np.array([0.9])}, {"score": np.array([0.4])}]
    assert list(mixed_up(Answered({}, [], alone, mixed, 1), 1e-5)) == [
        "request 0, output score: got [0.1 0.3], alone [0.1 0.2]; row 1 is row 0 of request 1",
        "request 1, output score: got [0.9], alone [0.3]",
    ]
