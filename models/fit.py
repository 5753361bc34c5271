"""Fitting the model: AdamW over the training split, stopped early by the validation days."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import Progress
from torch.nn.functional import binary_cross_entropy_with_logits

from recpile.models.dlrm import MovieLensDLRM, model_inputs
from recpile.models.examples import Examples, FlatInputs
from recpile.models.factors import item_factors
from recpile.models.features import Splits
from recpile.models.metrics import auc
from recpile.models.vocabulary import KEYS, USER_KEYS

_ROWS_A_SCORING_BATCH = 4096


@dataclass(frozen=True)
class TrainOptions:
    """epochs: at most; validation is scored `checks_per_epoch` times in each, and `patience` checks without a better
    AUC end the training. hide_user, hide_item: chance that a training row's id of a user key, or of its item, becomes
    0 (unknown). item_scale: root mean square of the item table's warm start (0 for none).
    """

    seed: int = 0
    epochs: int = 4
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    hide_user: float = 0.5
    hide_item: float = 0.1
    item_scale: float = 0.03
    checks_per_epoch: int = 3
    patience: int = 4
    # The batches are small: a second thread saves little, and on a busy machine waiting for it costs many times more.
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checks_per_epoch", "patience", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"TrainOptions.{name}: got {getattr(self, name)}; use 1 or more")
        for name in ("hide_user", "hide_item"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"TrainOptions.{name}: got {getattr(self, name)}; use 0 to below 1")
        if self.learning_rate <= 0 or min(self.weight_decay, self.item_scale, self.seed) < 0:
            raise ValueError(f"TrainOptions: got {self}; use a learning_rate above 0, the other numbers 0 or more")


@dataclass(frozen=True)
class Fitted:
    """The model, in eval mode with its best weights; rows: training rows seen until then; the AUC on validation."""

    model: MovieLensDLRM
    rows: int
    validation_auc: float


def fit(splits: Splits, options: TrainOptions, progress: Progress) -> Fitted:
    """Train a new model. The same splits and options give the same weights (bit for bit, on one machine)."""
    with _torch_state(options):
        rng = np.random.default_rng(options.seed)
        model = MovieLensDLRM()
        _warm_start(model, splits.train, options.item_scale)
        optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        steps = options.epochs * -(-len(splits.train) // options.batch_size)
        check_every = max(1, steps // (options.epochs * options.checks_per_epoch))
        task = progress.add_task("training", total=steps)
        best, best_weights, worse = Fitted(model, 0, 0.0), copy.deepcopy(model.state_dict()), 0
        for step, flat in enumerate(_batches(splits.train, options, rng), start=1):
            model.train()
            loss = binary_cross_entropy_with_logits(model.logits(*model_inputs(flat)), torch.from_numpy(flat["labels"]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance(task)
            if step % check_every and step != steps:
                continue
            reached = auc(splits.validation.labels, score(model, splits.validation))
            worse = 0 if reached > best.validation_auc else worse + 1
            if worse == 0:
                best = Fitted(model, step * options.batch_size, reached)
                best_weights = copy.deepcopy(model.state_dict())
                progress.update(task, description=f"training, best validation AUC {reached:.4f}")
            elif worse == options.patience:
                break
        progress.update(task, completed=steps)
        model.load_state_dict(best_weights)
        model.eval()
        return best


def score(model: MovieLensDLRM, examples: Examples) -> np.ndarray:
    """The probabilities float32 [N] of all rows; leaves the model in eval mode."""
    model.eval()
    scores = []
    with torch.no_grad():
        for start in range(0, len(examples), _ROWS_A_SCORING_BATCH):
            flat = examples.flat(slice(start, start + _ROWS_A_SCORING_BATCH))
            scores.append(model(*model_inputs(flat)).numpy())
    return np.concatenate(scores)


def _warm_start(model: MovieLensDLRM, train: Examples, scale: float) -> None:
    if scale == 0:
        return
    with torch.no_grad():
        table = model.item_table
        rows, dim = table.shape
        table += torch.from_numpy(item_factors(train, rows, dim, scale))


def _batches(train: Examples, options: TrainOptions, rng: np.random.Generator) -> Iterator[FlatInputs]:
    """Flat inputs of shuffled rows, and their "labels", for all epochs."""
    for _ in range(options.epochs):
        shuffled = rng.permutation(len(train))
        for start in range(0, len(train), options.batch_size):
            rows = shuffled[start : start + options.batch_size]
            flat = train.flat(rows)
            _hide_ids(flat, options, rng)
            yield {**flat, "labels": train.labels[rows]}


def _hide_ids(flat: FlatInputs, options: TrainOptions, rng: np.random.Generator) -> None:
    """Most users of the held-out days are new: hidden ids teach the model to do without, and train the rows 0."""
    ends = np.cumsum(flat["sparse.lengths"].sum(axis=1))
    for key, chance in (*((key, options.hide_user) for key in USER_KEYS), ("item", options.hide_item)):
        end = ends[KEYS.index(key)]
        ids = flat["sparse.values"][end - flat["sparse.lengths"][KEYS.index(key)].sum() : end]
        ids[rng.random(len(ids)) < chance] = 0


@contextmanager
def _torch_state(options: TrainOptions) -> Iterator[None]:
    """Seed and threads for the time of the fit, the caller's own afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        torch.set_num_threads(options.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
