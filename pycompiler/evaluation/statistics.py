"""Quality of scores with bootstrap intervals: what another sample of rows as large would have said.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3 (percentile intervals). Two artifacts are
compared on the same resampled rows, so what the rows have in common cancels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recpile.pycompiler.metrics import auc, log_loss, normalized_entropy

RESAMPLES = 200
_COVERED = (2.5, 97.5)  # percentiles: a 95 % interval
_SMALLEST = 1e-15  # as scikit-learn clips probabilities


def quality_of(labels: np.ndarray, scores: np.ndarray, intervals: bool = True) -> dict:
    """AUC, normalized entropy, log loss and calibration (mean score over mean label) of scores [N] in [0, 1].

    With `intervals`, for each a 95 % bootstrap interval [low, high]; None where resamples had one kind of label only.
    """
    measured: dict[str, object] = {
        "auc": auc(labels, scores),
        "normalized_entropy": normalized_entropy(labels, scores),
        "log_loss": log_loss(labels, scores),
        "calibration": float(np.mean(scores, dtype=np.float64) / np.mean(labels)),
    }
    if intervals:
        measured["intervals"] = _intervals(labels, scores)
    return measured


def relative_loss(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """How much larger the normalized entropy of `after` is than that of `before`, as a share of the latter."""
    return float(losses(labels, after).mean() / losses(labels, before).mean() - 1)


def relative_loss_noise(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """The standard error of relative_loss: rows differ in how much they lose."""
    first, difference = losses(labels, before), losses(labels, after) - losses(labels, before)
    return float(difference.std() / np.sqrt(len(labels)) / first.mean())


def relative_loss_interval(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> list[float]:
    """The paired 95 % bootstrap interval of relative_loss."""
    first, second = losses(labels, before), losses(labels, after)
    found = [float((counts @ second) / (counts @ first)) - 1 for counts in _resamples(len(labels))]
    return _percentiles(found)


def losses(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Cross entropy of each row in nats, float64 [N]."""
    sure = np.clip(scores.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return -np.where(labels > 0, np.log(sure), np.log1p(-sure))


def _intervals(labels: np.ndarray, scores: np.ndarray) -> dict:
    by_row, wide = losses(labels, scores), scores.astype(np.float64)
    area = _WeightedAuc(labels, scores)
    found: dict[str, list[float]] = {name: [] for name in ("auc", "normalized_entropy", "log_loss", "calibration")}
    for counts in _resamples(len(labels)):
        rate = float(counts @ (labels > 0)) / len(labels)
        if not 0 < rate < 1:
            continue
        loss = float(counts @ by_row) / len(labels)
        base = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
        found["auc"].append(area(counts))
        found["normalized_entropy"].append(loss / base)
        found["log_loss"].append(loss)
        found["calibration"].append(float(counts @ wide) / len(labels) / rate)
    return {name: _percentiles(values) if values else None for name, values in found.items()}


class _WeightedAuc:
    """AUC of rows that count several times; the scores are sorted once."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        self.order = np.argsort(scores, kind="stable")
        ranked = scores[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        self.positive = labels[self.order] > 0

    def __call__(self, counts: np.ndarray) -> float:
        ranked = counts[self.order]
        positives = np.add.reduceat(ranked * self.positive, self.starts)
        negatives = np.add.reduceat(ranked * ~self.positive, self.starts)
        below = np.cumsum(negatives) - negatives
        return float((positives @ (below + negatives / 2)) / (positives.sum() * negatives.sum()))


def _resamples(rows: int) -> Iterator[np.ndarray]:
    """How often each row is drawn, float64 [N], RESAMPLES times; always the same draws."""
    make = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield np.bincount(make.integers(0, rows, rows), minlength=rows).astype(np.float64)


def _percentiles(values: list[float]) -> list[float]:
    return [float(one) for one in np.percentile(values, _COVERED)]
