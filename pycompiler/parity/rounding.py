"""What working in 16 or 8 bits changes in a stage, on given inputs: so far may its code be from its program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

_LOW = (torch.bfloat16, torch.float16)
# Compiled code rounds at other places than the program: at most each of them as far as the program itself.
_TIMES = 2.0
_INT8_STEPS = 127


def allowed_rounding(program: ExportedProgram, given: Sequence[Tensor], gave: Sequence[Tensor], int8: bool) -> float:
    """Twice the largest difference between what the program gave and what it gives when all its bf16 and fp16 is fp32.
    With layers in int8 at least one step of their 127, of the largest answer: a value that lies between two codes may
    become either."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    with torch.no_grad():
        wide = _Wide(module).run(*given)
    return max((_allowed(a, b, int8) for a, b in zip(wide, gave, strict=True)), default=0.0)


class Roundings:
    """The same for every operator of a program: how far its compiled value may be from what PyTorch's gave."""

    def __init__(self, module: GraphModule, given: Sequence[Tensor], int8: bool) -> None:
        self._int8 = int8
        run = _Wide(module)
        with torch.no_grad():
            run.run(*given)
        self._wide = run.seen

    def allowed(self, name: str, gave: Tensor) -> float:
        return _allowed(self._wide[name], gave, self._int8)


def _allowed(wide: Tensor, gave: Tensor, int8: bool) -> float:
    rounded = _TIMES * _apart(wide, gave)
    if not int8 or not gave.numel():
        return rounded
    # Codes themselves may be one off.
    return max(rounded, float(gave.abs().max()) / _INT8_STEPS if gave.is_floating_point() else 1.0)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


class _Wide(Interpreter):
    """Runs a graph with fp32 in the place of bf16 and fp16. `seen`: what operators gave, by name."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            result = result.float() if result.dtype in _LOW else result
            self.seen[n.name] = result
        return result

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        def wide(one: Any) -> Any:
            return torch.float32 if isinstance(one, torch.dtype) and one in _LOW else one

        return super().call_function(target, tuple(map(wide, args)), {k: wide(v) for k, v in kwargs.items()})
