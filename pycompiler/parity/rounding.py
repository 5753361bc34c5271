"""What working in bf16 changes in a stage, on given inputs: as far may its compiled code be from its program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

# Compiled code rounds at other places than the program: at most each of them as far as the program itself.
_TIMES = 2.0


def allowed_rounding(program: ExportedProgram, given: Sequence[Tensor], gave: Sequence[Tensor]) -> float:
    """Twice the largest difference between what the program gave and what it gives when all its bf16 is fp32."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    with torch.no_grad():
        wide = _Wide(module).run(*given)
    return _TIMES * max((_apart(a, b) for a, b in zip(wide, gave, strict=True)), default=0.0)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


class _Wide(Interpreter):
    """Runs a graph with fp32 in the place of bf16."""

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        return result.float() if isinstance(result, Tensor) and result.dtype == torch.bfloat16 else result

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        def wide(one: Any) -> Any:
            return torch.float32 if one is torch.bfloat16 else one

        return super().call_function(target, tuple(map(wide, args)), {k: wide(v) for k, v in kwargs.items()})
