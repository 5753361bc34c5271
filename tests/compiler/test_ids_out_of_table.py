"""Ids that a model computes out of their table are found before an artifact is made, with the line of the lookup."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured
from torch import nn

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.quality import ParityError, answered_batches
from recpile.pycompiler.schema import Dense

BOUNDS = torch.tensor([-0.5, 0.0, 0.5])


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(lambda x: x.long().clamp(7, 9), marks=pytest.mark.proves("Plain PyTorch", "clamp", "refusal")),
        pytest.param(
            lambda x: torch.bucketize(x, BOUNDS), marks=pytest.mark.proves("Plain PyTorch", "bucketize", "refusal")
        ),
    ],
)
def test_more_ids_than_the_table_has_rows_are_refused_with_the_line_and_the_way_out(ids) -> None:
    model = Computes(lambda self, x: self.table(ids(x)), table=nn.Embedding(2, 4)).eval()
    program = run_passes(captured(model, Dense("x")), passes(TablePrecision(), "fp32"))
    with pytest.raises(ParityError, match=r"index out of range in self \(.*out_of_table.py:.*self.table.*eval-data"):
        answered_batches(model, program.schema, build_manifest(program, "1", {}, {}), None)
