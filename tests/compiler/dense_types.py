"""What tests of the types of dense layers share: a model with its layers cast, and the types in which they run."""

from __future__ import annotations

import platform

import pytest
import torch
from compiler.graphs import aten, captured
from torch import nn

from recpile.passes.base import run_passes
from recpile.passes.cast_dense import CastDense
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.quantize_tables import QuantizeTables
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.artifact.requirements import cpu_features
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.schema import Input

# docs/quantization.md: without these, or ARM's, products of int8 saturate, and answers are not as close as they can be.
exact_products = pytest.mark.skipif(
    platform.machine() == "x86_64" and not {"avx512_vnni", "avx_vnni"} & cpu_features(), reason="this CPU has no VNNI"
)


def cast(
    model: nn.Module, *inputs: Input, outputs: tuple[str, ...] = ("score",), dtype: str | DensePrecision = "bf16"
) -> Program:
    # Without the passes that change layers: which of them are cast is said of the layers that the model has.
    before = [RemoveIdentities(), QuantizeTables(), SplitStages()]
    return run_passes(captured(model, *inputs, outputs=outputs), [*before, CastDense(dtype)])


def layers(stage: Stage) -> list[torch.dtype]:
    """The types in which the stage's linear layers run, in graph order."""
    return [node.meta["val"].dtype for node in stage.graph.graph.nodes if node.target is aten.linear.default]
