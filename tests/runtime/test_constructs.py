"""Every construct that a model may be made of, through an artifact: eager, the debug runtime and the engine agree."""

from __future__ import annotations

from pathlib import Path

import constructs
import pytest
import zoo
from compiler.graphs import draw

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.verify import VerifyOptions, verify

RUNTIMES = "numerics in both runtimes"


def proves(*what: tuple[str, str]) -> list:
    return [pytest.mark.proves(area, construct, RUNTIMES) for area, construct in what]


MODELS = {
    "two_sources": [
        ("TorchRec", "EmbeddingBagCollection"),
        ("TorchRec", "weighted features"),
        ("TorchRec", "KJT argument"),
        ("TorchRec", "unweighted features"),
    ],
    "tiny_dlrm": [
        ("TorchRec", "shared tables"),
        ("TorchRec", "sum pooling"),
        ("The passes", "dot interaction"),
        ("The passes", "lookups concatenated into their consumers"),
    ],
    "hashed_ids": [("TorchRec", "KJT built inside"), ("TorchRec", "mean pooling"), ("Plain PyTorch", "hashing")],
    "sequence": [
        ("TorchRec", "EmbeddingCollection, unpooled"),
        ("TorchRec", "shared tables"),
        ("TorchRec", "mean pooling"),
        ("TorchRec", "KeyedTensor outputs"),
        ("Plain PyTorch", "attention over a history"),
        ("Plain PyTorch", "towers"),
        ("Plain PyTorch", "mixture of experts"),
        ("Plain PyTorch", "several outputs"),
        ("The passes", "batch tables"),
        ("Plain PyTorch", "training-only dropout"),
        ("Checkpoints", "training-only outputs: losses, auxiliary heads"),
        ("The passes", "fusion"),
        ("The passes", "batch-norm folding"),
        ("The passes", "layer-norm folding"),
        ("The passes", "parallel layers as one"),
        ("The passes", "cleanup"),
    ],
    "plain": [
        ("Plain PyTorch", "nn.Embedding"),
        ("Plain PyTorch", "lists and dicts of tables"),
        ("Plain PyTorch", "nn.EmbeddingBag, 2-D ids"),
        ("Plain PyTorch", "nn.EmbeddingBag, offsets"),
        ("Plain PyTorch", "per-sample weights"),
        ("Plain PyTorch", "padding_idx"),
        ("Plain PyTorch", "max_norm"),
        ("Plain PyTorch", "modulo"),
        ("Plain PyTorch", "clamp"),
        ("Plain PyTorch", "hashing"),
        ("Plain PyTorch", "bucketize"),
    ],
    "quantized": [("TorchRec", "quantize_inference_model")],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=proves(*what)) for name, what in MODELS.items()])
def test_eager_and_both_runtimes_agree(name: str, export) -> None:
    model, schema = getattr(zoo if hasattr(zoo, name) else constructs, name)()
    artifact = Artifact(Path(export(name).path))
    for batch, longest in ((1, 3), (17, 3), (3, 0)):
        flat = draw(schema, batch, longest=longest, seed=batch)
        report = verify(artifact, flat, (model, schema), VerifyOptions(tolerance=1e-5))
        assert report.ok, report.finding
        assert {"exported stages", "debug runtime", "C++ engine"} <= {step.name for step in report.steps}
