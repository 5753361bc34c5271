"""The pipeline on published models: what it leaves answers as eager does."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import captured, count, kjt
from compiler.layers import operators, relative
from torchrec.models.deepfm import SimpleDeepFMNN
from torchrec.models.dlrm import DLRM, DLRM_DCN, DLRM_Projection
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.graph import EMBEDDING_BAGS
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import QuantizeTables, TablePrecision
from recpile.pycompiler.schema import Dense


def tables() -> EmbeddingBagCollection:
    return collection(*((f"t{i}", 5, 8, [f"f{i}"]) for i in range(3)))


@pytest.mark.parametrize(
    "model",
    [
        lambda: DLRM(tables(), 4, [16, 8], [16, 1]),
        pytest.param(
            lambda: DLRM_DCN(tables(), 4, [16, 8], [16, 1], 2, 4),
            marks=pytest.mark.proves("The passes", "DCN-v2 low-rank cross", "graph"),
        ),
        lambda: DLRM_Projection(tables(), 4, [16, 8], [16, 1], [32, 16], [32, 24]),
        lambda: SimpleDeepFMNN(4, tables(), 12, 6),
    ],
    ids=["DLRM", "DLRM_DCN", "DLRM_Projection", "SimpleDeepFMNN"],
)
def test_published_models_get_smaller_and_answer_as_eager_does(model) -> None:
    torch.manual_seed(0)
    made = model()
    program = captured(made, Dense("dense_features", (4,)), kjt("f0", "f1", "f2", name="sparse_features"))
    every = passes(TablePrecision(), "fp32")
    last = next(i for i, one in enumerate(every) if isinstance(one, QuantizeTables))
    fused = run_passes(program, every[:last])
    assert relative(made, fused) < 1e-6
    assert count(fused, EMBEDDING_BAGS) == 1
    assert len(operators(fused)) < len(operators(program))
