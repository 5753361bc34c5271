from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress

from recpile.models import movielens, train
from recpile.models.dlrm import build
from recpile.models.examples import load_examples
from recpile.models.features import Splits
from recpile.models.fit import TrainOptions, fit, score
from recpile.models.synthetic import TINY, generate

OPTIONS = TrainOptions(epochs=4, batch_size=128)


@pytest.fixture(scope="module")
def trained(tiny_splits: Splits):
    return train.train(tiny_splits, OPTIONS)


def test_the_model_beats_the_base_rate_and_logistic_regression(trained) -> None:
    _, report = trained
    assert report.model.normalized_entropy < 0.97
    assert report.model.auc > report.baseline.auc + 0.02
    assert report.baseline.auc > 0.5


def test_a_checkpoint_loads_strictly_and_scores_the_held_out_file_the_same(
    trained, tiny_splits: Splits, tmp_path: Path
) -> None:
    model, report = trained
    train.save_run(tmp_path / "run", model, tiny_splits, report)
    again, _ = build()
    again.load_state_dict(torch.load(tmp_path / "run" / train.CHECKPOINT, weights_only=True), strict=True)
    held_out = load_examples(tmp_path / "run" / train.HELD_OUT)
    np.testing.assert_array_equal(score(again, held_out), score(model, tiny_splits.held_out))
    written = json.loads((tmp_path / "run" / train.REPORT).read_text())
    assert written["model"]["auc"] == report.model.auc


def test_the_same_seed_gives_the_same_weights(tiny_splits: Splits) -> None:
    options = TrainOptions(epochs=1, seed=5)
    torch.manual_seed(1)
    with Progress(disable=True) as progress:
        one = fit(tiny_splits, options, progress).model.state_dict()
        torch.rand(3)  # the caller's random state plays no part
        other = fit(tiny_splits, options, progress).model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_command_writes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(train.synthetic, "generate", lambda _: generate(TINY))
    assert train.main(["--data", "synthetic", "--out", str(tmp_path / "run"), "--epochs", "1"]) == 0
    assert sorted(one.name for one in (tmp_path / "run").iterdir()) == [
        "calibration.npz",
        "checkpoint.pt",
        "held_out.npz",
        "report.json",
    ]
    assert "logistic regression" in capsys.readouterr().out


def test_the_command_without_a_network_fails_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def fail() -> Path:
        raise movielens.DataError("no network; to go on without it, use --data synthetic")

    monkeypatch.setattr(train.movielens, "download", fail)
    assert train.main(["--data", "movielens", "--out", str(tmp_path)]) == 1
    assert "use --data synthetic" in capsys.readouterr().err


def test_an_option_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="epochs: got 0; use 1 or more"):
        TrainOptions(epochs=0)
    with pytest.raises(SystemExit):
        train.main(["--data", "synthetic", "--out", "x", "--hide-user", "1.5"])
