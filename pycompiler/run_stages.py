"""Runs a program's stages through PyTorch's own operators: what the artifact computes, before it is lowered."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recpile.pycompiler.operators import packed_embedding_bags  # noqa: F401  # stages call it
from recpile.pycompiler.program import Program


def stage_values(program: Program, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every value by name: the flat inputs, and what the stages give."""
    weights = {**program.graph.state_dict, **program.graph.constants}
    tables = {table.name: weights[fqn] for fqn, table in program.tables.items()}
    values = dict(flat)
    with torch.no_grad():
        for stage in program.stages:
            used = list(dict.fromkeys(f.table for f in stage.lookup.features)) if stage.lookup else []
            given = stage.graph.module(check_guards=False)(
                *(tables[t] for t in used), *(values[name] for name in stage.inputs)
            )
            values.update({spec.name: value for spec, value in zip(stage.outputs, given, strict=True)})
    return values


def run_stages(program: Program, flat: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The model's outputs."""
    values = stage_values(program, flat)
    return tuple(values[name] for name in program.outputs)
