"""How good scores are: ranking (AUC) and calibration (log loss, normalized entropy)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recpile.pycompiler.metrics import auc, log_loss, normalized_entropy

__all__ = ["Quality", "auc", "log_loss", "normalized_entropy", "quality"]


@dataclass(frozen=True)
class Quality:
    """AUC (0.5 is chance, higher is better); log loss in nats and normalized entropy (1 is the base rate; lower)."""

    auc: float
    log_loss: float
    normalized_entropy: float


def quality(labels: np.ndarray, scores: np.ndarray) -> Quality:
    """All three, of labels [N] (0 or 1, both present) and scores [N] (probabilities). Raises ValueError otherwise."""
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"got labels {labels.shape} and scores {scores.shape}; use one score [N] for each label [N]")
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(f"got labels {np.unique(labels)[:5]}; use 0 and 1, both present")
    if not np.isfinite(scores).all():
        raise ValueError("got scores that are not finite; use probabilities in [0, 1]")
    return Quality(auc(labels, scores), log_loss(labels, scores), float(normalized_entropy(labels, scores)))
