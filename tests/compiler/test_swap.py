"""TorchRec's embedding modules, swapped: unpooled collections, and models that TorchRec has quantized."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, draw, farthest, kjt, lookup_calls, reasons
from torch import Tensor, nn
from torchrec.inference.modules import quantize_inference_model
from torchrec.modules.embedding_configs import EmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingCollection
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.operators import NONE
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import compare, eager, run_stages
from recpile.pycompiler.swap import CaptureError


def sequences(*tables: tuple[str, int, list[str]], need_indices: bool = False) -> EmbeddingCollection:
    made = EmbeddingCollection(
        tables=[
            EmbeddingConfig(name=name, num_embeddings=rows, embedding_dim=4, feature_names=features)
            for name, rows, features in tables
        ],
        need_indices=need_indices,
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def staged(model: nn.Module, *inputs) -> Program:
    return run_passes(captured(model, *inputs), passes(TablePrecision(), "fp32"))


@pytest.mark.proves("TorchRec", "EmbeddingCollection, unpooled", "graph")
def test_an_embedding_collection_is_one_unpooled_lookup() -> None:
    def function(self, sparse) -> Tensor:
        rows = self.rows(sparse)
        return torch.cat([rows["f2"].to_padded_dense(3), rows["f0"].to_padded_dense(2)], dim=1).sum(1)

    model = Computes(function, rows=sequences(("t", 5, ["f0"]), ("u", 6, ["f2"])))
    program = captured(model, kjt("f0", "f1", "f2"))
    (call,) = lookup_calls(program)
    assert (call.pooling, call.feature_row, call.feature_table) == (NONE, [0, 2], [0, 1])
    assert farthest(model, program) < 1e-6
    assert farthest(model, staged(model, kjt("f0", "f1", "f2"))) < 1e-6


def test_a_single_feature_needs_no_padding() -> None:
    def function(self, sparse) -> Tensor:
        rows = self.rows(sparse)["f0"]
        return torch.segment_reduce(rows.values(), "sum", lengths=rows.lengths(), axis=0)

    model = Computes(function, rows=sequences(("t", 5, ["f0"])))
    assert farthest(model, captured(model, kjt("f0"))) < 1e-6


@pytest.mark.proves("TorchRec", "shared tables", "graph")
def test_features_that_share_a_table_and_tables_that_share_a_feature() -> None:
    def function(self, sparse) -> Tensor:
        rows = self.rows(sparse)
        return sum(rows[name].to_padded_dense(3).sum(1) * (i + 1) for i, name in enumerate(rows))  # type: ignore[return-value]

    model = Computes(function, rows=sequences(("t", 5, ["f0", "f1"]), ("u", 6, ["f1"]), need_indices=True))
    program = captured(model, kjt("f0", "f1"))
    assert [len(call.feature_row) for call in lookup_calls(program)] == [2, 1]
    assert farthest(model, program) < 1e-5


@pytest.mark.proves("TorchRec", "quantize_inference_model", "graph")
@pytest.mark.parametrize("unpooled", [False, True])
def test_a_model_that_torchrec_quantized_keeps_its_rows(unpooled: bool) -> None:
    def pooled_sum(self, sparse) -> Tensor:
        return self.bags(sparse).values()

    def padded(self, sparse) -> Tensor:
        return self.rows(sparse)["f0"].to_padded_dense(3).sum(1)

    model = (
        Computes(padded, rows=sequences(("t", 5, ["f0"]), ("u", 6, ["f1"])))
        if unpooled
        else Computes(pooled_sum, bags=collection(("t", 5, 4, ["f0"]), ("u", 6, 8, ["f1"])))
    )
    quantized = quantize_inference_model(model).eval()
    program = staged(quantized, kjt("f0", "f1"))
    kept = reasons(program, "QuantizeTables", did=False)
    assert kept["t"] == "the model brings it packed, as int8"
    assert {table.dtype for table in program.tables.values()} == {"int8"}
    flat = draw(program.schema, 17, ids=5)
    assert compare(list(eager(quantized, program.schema, flat)), list(run_stages(program, flat))).max < 1e-6


@pytest.mark.proves("TorchRec", "quantize_inference_model", "refusal")
def test_a_quantized_collection_that_gives_another_type_than_fp32_is_refused() -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=collection(("t", 5, 4, ["f0"])))
    quantized = quantize_inference_model(model, output_dtype=torch.float16)
    with pytest.raises(CaptureError, match=r"'bags' gives torch.float16, .*quantize with output_dtype=torch.float32"):
        captured(quantized, kjt("f0"))
