"""Values that no healthy model has: NaN, Inf, or outside a range that its owner knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recpile.pycompiler.debugging.describe import told_tensor
from recpile.pycompiler.debugging.operators import OperatorCall


class OperatorFault(RuntimeError):
    """An operator gave what it must not. The message names it, its line of the model, and what it read and gave."""


@dataclass(frozen=True)
class ValueCheck:
    """What every floating-point result must be: finite, and if `low` or `high` are given, not beyond them."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"range: got {self.low} to {self.high}; the first number is the smaller one")

    def __call__(self, call: OperatorCall) -> None:
        for one in call.outputs:
            if one.is_floating_point() and (wrong := self._wrong(one)):
                read = [f"\n  reads {name}: {told_tensor(value)}" for name, value in call.inputs.items()]
                raise OperatorFault(f"{call} gives {wrong}\n  gives {told_tensor(one)}{''.join(read)}")

    def _wrong(self, one: Tensor) -> str:
        nan, inf = int(one.isnan().sum()), int(one.isinf().sum())
        if nan or inf:
            return f"{nan} NaN and {inf} Inf among {one.numel():,} values"
        beyond = torch.zeros_like(one, dtype=torch.bool)
        if self.low is not None:
            beyond |= one < self.low
        if self.high is not None:
            beyond |= one > self.high
        limits = f"{'-inf' if self.low is None else self.low} to {'inf' if self.high is None else self.high}"
        return f"{int(beyond.sum()):,} of {one.numel():,} values outside {limits}" if bool(beyond.any()) else ""
