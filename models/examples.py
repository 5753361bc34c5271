"""Examples: the rows that a model is trained and scored on, and the flat form in which they go to a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recpile.models.ratings import FloatArray, IntArray

FlatInputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """N rows. dense: float32 [N, D]; labels: float32 [N], 1 where the user liked the item.

    Of key k, row i holds the ids values[k][offsets[k][i] : offsets[k][i + 1]]; values int64 [nnz], offsets [N + 1].
    """

    dense: FloatArray
    values: dict[str, IntArray]
    offsets: dict[str, IntArray]
    labels: FloatArray

    def __post_init__(self) -> None:
        rows = len(self.labels)
        if self.dense.ndim != 2 or len(self.dense) != rows:
            raise ValueError(f"Examples.dense: got shape {self.dense.shape}; use ({rows}, D), a row for each label")
        if tuple(self.values) != tuple(self.offsets):
            raise ValueError(
                f"Examples: got values of {list(self.values)}, offsets of {list(self.offsets)}; use the same keys"
            )
        for key, offsets in self.offsets.items():
            if offsets.shape != (rows + 1,) or offsets[0] != 0 or offsets[-1] != len(self.values[key]):
                raise ValueError(f"Examples.offsets['{key}']: use {rows + 1} offsets from 0 to {len(self.values[key])}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.values)

    def flat(self, rows: slice | IntArray = slice(None)) -> FlatInputs:
        """The B rows named by a slice or by positions [B], as the server takes them.

        "dense": float32 [B, D]; "sparse.lengths": int64 [F, B]; "sparse.values": int64 [nnz], key by key, the rows
        of each in order (feature-major, as in a KeyedJaggedTensor).
        """
        picked = np.arange(len(self))[rows]
        bags = [gather(self.values[key], self.offsets[key][picked], self.offsets[key][picked + 1]) for key in self.keys]
        return {
            "dense": self.dense[picked],
            "sparse.values": np.concatenate([values for values, _ in bags]),
            "sparse.lengths": np.stack([lengths for _, lengths in bags]),
        }


def gather(values: np.ndarray, starts: IntArray, ends: IntArray) -> tuple[np.ndarray, IntArray]:
    """The slices values[starts[i]:ends[i]] of [N] rows one after another, and their lengths int64 [N]."""
    lengths = ends - starts
    shifts = starts - offsets_of(lengths)[:-1]
    return values[np.repeat(shifts, lengths) + np.arange(lengths.sum())], lengths


def offsets_of(lengths: IntArray) -> IntArray:
    """Lengths [N] to offsets int64 [N + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def save_examples(path: Path, examples: Examples) -> None:
    """Write an .npz with the flat inputs of all rows under their own names, `keys` [F] and `labels` [N].

    It is what `recpile export --eval-data` reads.
    """
    arrays = {**examples.flat(), "keys": np.asarray(examples.keys), "labels": examples.labels}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_examples(path: Path) -> Examples:
    """Read what `save_examples` wrote. Raises FileNotFoundError, or ValueError naming the array that lacks."""
    with np.load(path, allow_pickle=False) as file:
        missing = {"dense", "sparse.values", "sparse.lengths", "keys", "labels"} - set(file.files)
        if missing:
            raise ValueError(f"{path}: got no array {sorted(missing)}; use a file that recpile.models.train wrote")
        keys, lengths = [str(key) for key in file["keys"]], file["sparse.lengths"]
        by_key = np.split(file["sparse.values"], np.cumsum(lengths.sum(axis=1))[:-1])
        offsets = [offsets_of(row) for row in lengths]
        return Examples(
            file["dense"], dict(zip(keys, by_key, strict=True)), dict(zip(keys, offsets, strict=True)), file["labels"]
        )
