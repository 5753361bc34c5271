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
    rounded = _TIMES * max((_apart(a, b) for a, b in zip(wide, gave, strict=True)), default=0.0)
    steps = [float(one.abs().max()) / _INT8_STEPS for one in gave if int8 and one.is_floating_point() and one.numel()]
    return max(rounded, *steps) if steps else rounded


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


class _Wide(Interpreter):
    """Runs a graph with fp32 in the place of bf16 and fp16."""

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        return result.float() if isinstance(result, Tensor) and result.dtype in _LOW else result

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        def wide(one: Any) -> Any:
            return torch.float32 if isinstance(one, torch.dtype) and one in _LOW else one

        return super().call_function(target, tuple(map(wide, args)), {k: wide(v) for k, v in kwargs.items()})
