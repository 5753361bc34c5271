"""`recpile export --precision` on what a user may get wrong: one clear line, and nothing half-written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from recpile.pycompiler.cli.main import main
from recpile.pycompiler.quality import eager

MODEL = """
import torch
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged

class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=[
            EmbeddingBagConfig(name="item", num_embeddings=30, embedding_dim=4, feature_names=["item"])])
        self.hidden, self.out = nn.Linear(35, 32), nn.Linear(32, 1)

    def forward(self, dense, sparse):
        pooled = self.tables(sparse).values()
        hidden = torch.relu(self.hidden(torch.cat([dense, pooled], 1)))
        return torch.sigmoid(self.out(hidden)).squeeze(1)

def build():
    return Scorer(), InputSchema([Dense("dense", (31,)), KeyedJagged("sparse", ["item"])])
"""
ROWS = 900

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recpile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """recpile("--precision", …): an export in a folder with a checkpoint and rows -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "precision_model.py").write_text(MODEL)
    torch.manual_seed(0)
    import precision_model  # type: ignore[import-not-found]

    model, schema = precision_model.build()
    make = np.random.default_rng(0)
    dense = make.normal(size=(ROWS, 31)).astype(np.float32)
    dense[:, 0] = 0
    with torch.no_grad():
        model.hidden.weight[:, 0] = 1e5  # of no use, as its input is 0; but int8 spans its rows up to there
        model.out.weight *= 20
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    inputs = {"dense": dense, "sparse.values": make.integers(0, 30, ROWS), "sparse.lengths": np.ones((1, ROWS), int)}
    scores = eager(model.eval(), schema, {name: torch.from_numpy(value) for name, value in inputs.items()})[0]
    labels = (scores.numpy() > make.random(ROWS)).astype(int)
    np.savez(tmp_path / "rows.npz", labels=labels, allow_pickle=False, **inputs)
    few = {"dense": dense[:20], "sparse.values": np.arange(20), "sparse.lengths": np.ones((1, 20), int)}
    np.savez(tmp_path / "few.npz", labels=np.arange(20) % 2, allow_pickle=False, **few)
    np.savez(tmp_path / "no_ids.npz", labels=labels, allow_pickle=False, dense=dense)
    (tmp_path / "no_dense.csv").write_text("item,label\n" + "3,1\n4,0\n" * 450)
    (tmp_path / "unknown.yaml").write_text("tables: {itme: int8}\ndefault: bf16")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["export", "precision_model", "-c", "trained.pt", "-o", "never.pt2", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield run
    sys.modules.pop("precision_model", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "unknown.yaml"], "rule 'itme' matches no table; the tables are item"),
        (["--precision", "auto", "--calibration", "few.npz"], "few.npz has 20 rows; give at least 900"),
        (
            ["--precision", "auto", "--calibration", "no_ids.npz"],
            "no_ids.npz has no array sparse.values, sparse.len",
        ),
        (
            ["--precision", "auto", "--calibration", "no_dense.csv"],
            "no_dense.csv has no column dense; it has item",
        ),
        (["--dense-dtype", "int8-static", "--calibration", "few.npz"], "few.npz has 20 rows; give at least 100"),
        (["--precision", "auto", "--calibration", "rows.npz", "--budget", "2"], "--budget: got '2'; use a percentage"),
        (["--precision", "auto", "--calibration", "rows.npz", "--front", "f.png"], "--front: got 'f.png'; use a file"),
    ],
)
def test_what_the_user_can_mend_is_one_clear_line_and_nothing_is_written(recpile: Run, tmp_path, arguments, message):
    before = sorted(tmp_path.iterdir())
    code, _, said = recpile(*arguments)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert [one for one in sorted(tmp_path.iterdir()) if one.name != "__pycache__"] == [
        one for one in before if one.name != "__pycache__"
    ]


def test_of_a_budget_that_cannot_be_met_the_best_is_shown_and_no_artifact_is_written(recpile: Run, tmp_path):
    code, told, _ = recpile("--precision", "auto", "--calibration", "rows.npz", "--dense-dtype", "int8")
    assert code == 1
    assert "no assignment within 0.02 %; the best found: tables 480 bytes" in told
    assert "never.pt2 was not written" in told
    # What was measured is kept: a search with another budget goes on there.
    assert [one.name for one in sorted(tmp_path.glob("never*"))] == ["never.sensitivities.json"]
