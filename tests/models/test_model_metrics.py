from __future__ import annotations

import math

import numpy as np
import pytest

from recpile.models.metrics import auc, log_loss, normalized_entropy, quality

LABELS = np.array([0.0, 0.0, 1.0, 1.0])


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert auc(LABELS, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75


def test_log_loss_is_the_mean_surprise_in_nats() -> None:
    assert log_loss(LABELS, np.array([0.5, 0.5, 0.5, 0.5])) == pytest.approx(math.log(2))
    assert log_loss(LABELS, np.array([0.2, 0.2, 0.9, 0.9])) == pytest.approx(-(math.log(0.8) + math.log(0.9)) / 2)


def test_knowing_only_the_base_rate_has_normalized_entropy_one() -> None:
    labels = np.array([1.0, 0.0, 0.0, 0.0])
    assert normalized_entropy(labels, np.full(4, 0.25)) == pytest.approx(1.0)


def test_a_sure_miss_stays_finite() -> None:
    assert math.isfinite(quality(LABELS, np.array([0.0, 1.0, 0.0, 1.0])).log_loss)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (LABELS, np.zeros(3), "use one score"),
        (np.ones(2), np.zeros(2), "both present"),
        (LABELS, np.array([0.1, np.nan, 0.2, 0.3]), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels: np.ndarray, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quality(labels, scores)
