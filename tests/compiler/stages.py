"""What tests of stages share: a model through the passes up to the split, what the stages are, and two towers."""

from __future__ import annotations

import itertools

import torch
from compiler.graphs import captured
from torch import Tensor, nn

from recpile.passes.base import Pass, run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense, Input


def split(model: nn.Module, *inputs: Input, outputs: tuple[str, ...] = ("score",)) -> Program:
    """Through every pass in front of the split, as a compiler does, and the split."""
    return run_passes(captured(model, *inputs, outputs=outputs), passes_until(SplitStages))


def passes_until(last: type[Pass]) -> list[Pass]:
    every = passes(TablePrecision(), "fp32")
    return every[: 1 + next(i for i, one in enumerate(every) if isinstance(one, last))]


def shown(program: Program) -> list[tuple[str, tuple[str, ...], list[str]]]:
    return [(stage.name, stage.inputs, [spec.name for spec in stage.outputs]) for stage in program.stages]


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers)


class TwoTowers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.user_tower, self.item_tower = mlp(8, width, width, 16), mlp(6, width, width, 16)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return torch.sigmoid((self.user_tower(user) * self.item_tower(item)).sum(1))


BOTH = (Dense("user", (8,)), Dense("item", (6,)))
