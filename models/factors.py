"""A warm start for the item table: vectors of the items from the likes of the training split.

100,000 ratings are too few to learn 1,682 vectors by gradient descent before the model overfits, which it does after
about one pass; a truncated singular value decomposition finds them in a second, and training then only bends them.
"""

from __future__ import annotations

import numpy as np

from recpile.models.examples import Examples
from recpile.models.ratings import FloatArray

_ITEM_PRIOR = 5.0


def item_factors(train: Examples, rows: int, dim: int, scale: float) -> FloatArray:
    """Vectors float32 [rows, dim] of root mean square `scale`: items liked by the same users point the same way.

    Each rating counts as +1 (liked) or -1, less the user's mean and then the item's (smoothed), so that vectors hold
    taste and neither strictness nor popularity. Items without ratings get zeros.
    """
    users, user = np.unique(train.values["user"], return_inverse=True)
    items, item = np.unique(train.values["item"], return_inverse=True)
    signs = np.where(train.labels > 0, 1.0, -1.0)
    rated = np.zeros((len(users), len(items)))
    rated[user, item] = 1.0
    taste = np.zeros_like(rated)
    taste[user, item] = signs
    taste -= rated * (taste.sum(axis=1) / rated.sum(axis=1))[:, None]
    taste -= rated * (taste.sum(axis=0) / (rated.sum(axis=0) + _ITEM_PRIOR))

    _, strengths, directions = np.linalg.svd(taste, full_matrices=False)
    rank = min(dim, len(strengths))
    factors = np.zeros((rows, dim))
    factors[items, :rank] = (directions[:rank] * np.sqrt(strengths[:rank, None])).T
    size = np.sqrt(np.mean(factors**2))
    return (factors * (scale / size if size > 0 else 0.0)).astype(np.float32)
