"""SplitStages: what may run side by side becomes stages of its own, where that is worth it."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, farthest, kjt
from compiler.stages import BOTH, TwoTowers, mlp, shown, split
from torch import nn
from zoo import collection

from recpile.passes.branches import WORTH_FLOPS
from recpile.pycompiler.program import Placement
from recpile.pycompiler.schema import Dense


def test_large_towers_are_stages_beside_each_other_and_what_joins_them_a_third() -> None:
    program = split(TwoTowers(1024), *BOTH)
    assert [(name, inputs) for name, inputs, _ in shown(program)] == [
        ("dense_0", ("user",)),
        ("dense_1", ("item",)),
        ("dense_2", tuple(spec.name for stage in program.stages[:2] for spec in stage.outputs)),
    ]
    assert "may run beside others, which saves" in program.log[-3].reason


@pytest.mark.proves("The passes", "split", "graph")
def test_their_answers_are_the_models() -> None:
    model = TwoTowers(1024)
    program = split(model, *BOTH)
    assert len(program.stages) == 3
    assert farthest(model, program) < 1e-6


@pytest.mark.proves("Plain PyTorch", "towers", "refusal")
def test_small_towers_stay_in_one_stage() -> None:
    assert [name for name, *_ in shown(split(TwoTowers(64), *BOTH))] == ["dense"]


def test_heads_behind_a_shared_trunk_are_branches_and_the_trunk_runs_first() -> None:
    model = Computes(
        lambda self, x: (lambda shared: {"click": self.click(shared).squeeze(1), "buy": self.buy(shared).squeeze(1)})(
            self.trunk(x)
        ),
        trunk=mlp(8, 32),
        click=mlp(32, 2048, 512, 1),
        buy=mlp(32, 1024, 1024, 1),
    )
    program = split(model, Dense("x", (8,)), outputs=("click", "buy"))
    (first, *_), *others = [(inputs, outputs) for _, inputs, outputs in shown(program)]
    assert first == ("x",)
    assert len(others) == 2
    assert all(inputs == program.stages[1].inputs for inputs, _ in others)
    assert program.stages[1].inputs == tuple(spec.name for spec in program.stages[0].outputs)


def test_a_branch_that_another_needs_is_not_beside_it() -> None:
    model = Computes(
        lambda self, x: (lambda low: torch.sigmoid((low * self.high(low)).sum(1)))(self.low(x)),
        low=mlp(8, 1024, 1024, 16),
        high=mlp(16, 1024, 1024, 16),
    )
    assert [name for name, *_ in shown(split(model, Dense("x", (8,))))] == ["dense"]


def test_a_large_network_on_dense_features_runs_beside_very_many_lookups() -> None:
    keys = [f"f{i}" for i in range(2 * WORTH_FLOPS // 10_000)]
    model = Computes(
        lambda self, x, sparse: torch.sigmoid(
            self.out(torch.cat([self.bottom(x), self.bags(sparse).values()], dim=1))
        ).squeeze(1),
        bags=collection(*((f"t_{key}", 3, 4, [key]) for key in keys)),
        bottom=mlp(8, 1024, 1024, 16),
        out=nn.Linear(16 + 4 * len(keys), 1),
    )
    names = [
        (name, "embedding/pooled" in inputs) for name, inputs, _ in shown(split(model, Dense("x", (8,)), kjt(*keys)))
    ]
    assert names == [("embedding", False), ("dense_0", False), ("dense_1", True)]


@pytest.mark.proves("The passes", "placement", "graph")
@pytest.mark.proves("The passes", "placement", "refusal")
def test_every_stage_is_placed_on_the_cpu_and_a_device_is_named_as_torch_does() -> None:
    assert {stage.placement.device for stage in split(TwoTowers(8), *BOTH).stages} == {"cpu"}
    with pytest.raises(ValueError, match="device: got 'GPU 0'; use 'cpu', or a device as torch writes it"):
        Placement("GPU 0")
