"""What tests of fusions share: distances relative to what eager gives, and layers with weights that matter."""

from __future__ import annotations

import torch
from compiler.graphs import answers, draw, worse
from torch import nn

from recpile.passes.base import Pass
from recpile.passes.invariants import verify
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import eager


def relative(model: nn.Module, program: Program) -> float:
    """The largest difference from eager, as a part of the largest value that eager gives, over several batch sizes."""
    largest = 0.0
    for seed, batch in enumerate((1, 2, 17, 64)):
        flat = draw(program.schema, batch, seed=seed)
        for wanted, got in zip(eager(model, program.schema, flat), answers(program, flat), strict=True):
            assert (wanted.shape, wanted.dtype) == (got.shape, got.dtype)
            largest = worse(largest, float((wanted.double() - got.double()).abs().max() / wanted.abs().max()))
    return largest


def fused(program: Program, one: Pass) -> Program:
    """The program after the pass, which changes it, keeps it valid, and leaves nothing for a second run."""
    before = str(program.graph.graph)
    result = one.run(program)
    verify(result.program)
    assert result.changed
    assert str(program.graph.graph) == before
    return result.program


def train(norm: nn.Module) -> None:
    """Leaves a batch norm as training does; no other module."""
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)


def operators(program: Program) -> list[str]:
    """The operators of the graph in order, by their short names."""
    calls = [node.target for node in program.graph.graph.nodes if node.op == "call_function"]
    return [str(one).split(".")[1] if isinstance(one, torch._ops.OpOverload) else "getitem" for one in calls]
