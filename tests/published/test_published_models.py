"""Published model classes: some lowered and run by both runtimes, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from published.models import build
from published.stages import Record

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.capture import capture
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.row_mixing import mixing_operators
from recpile.pycompiler.swap import CaptureError
from recpile.pycompiler.verify import verify

# One of each kind, lowered and run by both runtimes: what a compiler of dense stages could get wrong differs by kind.
LOWERED = (
    "torchrec.dlrm_dcn",
    "torchrec.simple_deepfm",
    "torchfm.deepfm",
    "deepctr.din",
    "rechub.mmoe",
)
PROVES = {
    "torchrec.dlrm_dcn": pytest.mark.proves("The passes", "DCN-v2 low-rank cross", "numerics in both runtimes"),
}


@pytest.mark.slow
@pytest.mark.published
@pytest.mark.parametrize("name", [pytest.param(name, marks=PROVES.get(name, ())) for name in LOWERED])
def test_both_runtimes_answer_as_eager_does(name: str, tmp_path: Path, record_property: Record) -> None:
    model, schema = build(name)
    path = tmp_path / "model.pt2"
    made = compile_model(model, schema, path, CompileOptions("model"))
    assert made.parity.max <= 1e-5
    artifact = Artifact(path)
    report = verify(artifact, random_inputs(artifact.manifest, 17, whole=True), (model, schema))
    assert report.ok, report.finding
    engine = report.steps[-1]
    assert (engine.name, engine.against) == ("C++ engine", "eager")
    record_property("runtimes", (name, engine.parity.max))


def test_random_numbers_in_eval_mode_are_refused() -> None:
    model, schema = build("torchfm.afm")  # F.dropout without training=self.training
    with pytest.raises(CaptureError, match=r"layer.py:\d+: attn_scores = F.dropout.* draws random numbers"):
        capture(model, schema, "model")


def test_a_branch_on_values_is_refused() -> None:
    model, schema = build("rechub.dien")
    with pytest.raises(CaptureError, match=r"dien.py:\d+: if has_hist.any\(\)"):
        capture(model, schema, "model")


def test_attention_over_the_batch_is_found() -> None:
    model, schema = build("torchrec.dlrm_transformer")  # its encoder takes the batch for the sequence
    assert "transformerdlrm.py" in mixing_operators(capture(model, schema, "model").graph, schema)
