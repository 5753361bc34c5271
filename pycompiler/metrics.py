"""Quality of a click model's scores."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import log_loss as _log_loss
from sklearn.metrics import roc_auc_score


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve. labels [N] in {0, 1}, both present; scores [N]."""
    return float(roc_auc_score(labels, scores))


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean cross entropy in nats. scores [N] are probabilities."""
    return float(_log_loss(labels, scores.astype(np.float64), labels=[0, 1]))


def normalized_entropy(labels: np.ndarray, scores: np.ndarray) -> float:
    """Log loss over the entropy of the labels' base rate; 1 is what knowing the base rate alone gives.

    He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook", section 2.
    """
    rate = float(np.mean(labels))
    if not 0 < rate < 1:
        raise ValueError(f"normalized entropy needs both labels; got a base rate of {rate}")
    base = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    return log_loss(labels, scores) / base


def check_scores(scores: np.ndarray, output: str, data: str) -> None:
    """ValueError unless `scores` are probabilities, which normalized entropy is about."""
    low, high = float(np.min(scores)), float(np.max(scores))
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"output '{output}' is no probability on '{data}' ({low:.3g} to {high:.3g}): AUC and normalized entropy "
            "want one. For logits apply torch.sigmoid in the model, or name another output (EvalData(output=…))"
        )
