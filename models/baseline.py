"""The baseline that the model has to beat: logistic regression on the same inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from recpile.models.examples import Examples
from recpile.models.features import Splits
from recpile.models.metrics import auc
from recpile.models.vocabulary import VOCABULARY

# The inverse strengths of L2 tried; the best on the validation days is used, so the baseline is as good as it gets.
_INVERSE_STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Baseline:
    """scores: float32 [N], probabilities of the held-out rows; inverse_strength: the C that validation chose."""

    scores: np.ndarray
    inverse_strength: float


def logistic_regression(splits: Splits) -> Baseline:
    """Fit on the training split: every dense feature, and a 0/1 column for each id of each key (counts in bags)."""
    train, validation, held_out = (_matrix(one) for one in (splits.train, splits.validation, splits.held_out))
    fitted = [
        LogisticRegression(C=strength, max_iter=500).fit(train, splits.train.labels) for strength in _INVERSE_STRENGTHS
    ]
    on_validation = [auc(splits.validation.labels, one.predict_proba(validation)[:, 1]) for one in fitted]
    best = int(np.argmax(on_validation))
    scores = fitted[best].predict_proba(held_out)[:, 1].astype(np.float32)
    return Baseline(scores, _INVERSE_STRENGTHS[best])


def _matrix(examples: Examples) -> sparse.csr_matrix:
    """[N, D + all vocabularies]."""
    blocks = [sparse.csr_matrix(examples.dense)]
    for key in examples.keys:
        ids, offsets = examples.values[key], examples.offsets[key]
        ones = np.ones(len(ids), np.float32)
        blocks.append(sparse.csr_matrix((ones, ids, offsets), shape=(len(examples), VOCABULARY[key])))
    return sparse.csr_matrix(sparse.hstack(blocks))
