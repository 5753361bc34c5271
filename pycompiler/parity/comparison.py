"""What verify found: the steps that it compared, and where the first fault is, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recpile.pycompiler.debugging.describe import told_difference, told_tensor
from recpile.pycompiler.parity.first_operator import FirstOperator
from recpile.pycompiler.quality import Parity


@dataclass(frozen=True)
class Comparison:
    """One step: `name` against `against`, with the difference that is allowed (None: reported only)."""

    name: str
    against: str
    parity: Parity
    allowed: float | None

    @property
    def ok(self) -> bool:
        # `not >` would let NaN pass.
        return self.allowed is None or self.parity.max <= self.allowed


def parity_of(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> Parity:
    """Over all elements. Infinite if the numbers of elements differ; shapes are not compared (exactness.py).

    Infinities that are equal, as a mask hands on, are no difference; NaN is one to anything.
    """
    if any(a.numel() != b.numel() for a, b in zip(wanted, got, strict=True)):
        return Parity(float("inf"), float("inf"))
    a, b = (torch.cat([torch.zeros(1), *(one.double().reshape(-1) for one in side)]) for side in (wanted, got))
    apart = torch.where(a == b, 0.0, (a - b).abs())
    return Parity(float(apart.max()), float(apart.sum()) / max(1, len(apart) - 1))


@dataclass(frozen=True)
class Finding:
    """The first fault. `layer`: what is wrong ("weights", "capture", "pass X", "artifact", "compiled stage X",
    "engine", "coalescing"); `lines`: the particulars, ready to be printed."""

    layer: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join((f"first fault: {self.layer}", *self.lines))


@dataclass(frozen=True)
class Report:
    """Every comparison in the order of the model's way, and the first fault (None if all agree)."""

    steps: tuple[Comparison, ...]
    finding: Finding | None

    @property
    def ok(self) -> bool:
        return self.finding is None


def told_operator(found: FirstOperator, wanted_name: str) -> tuple[str, ...]:
    """Operator, source line, what it read, what it gave, and what the other run has in its place."""
    call = found.got
    lines = [f"at {call}"]
    lines += [f"reads {name}: {told_tensor(one)}" for name, one in call.inputs.items()]
    lines += [f"gives {told_tensor(one)}" for one in call.outputs]
    if found.wanted is None:
        return (*lines, f"{wanted_name}: has no such value")
    lines += [
        f"{wanted_name}: {found.wanted.operator} '{found.wanted.name}' gives {told_tensor(one)}"
        for one in found.wanted.outputs
    ]
    pairs = zip(found.wanted.outputs, call.outputs, strict=False)
    return (*lines, *(told_difference(other, one) for other, one in pairs if one.numel() == other.numel()))
