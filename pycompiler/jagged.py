"""JaggedTensor and KeyedJaggedTensor whose usual methods torch.export can take: no size in them depends on data.

TorchRec's own cut ids out by the sum of lengths, which torch.export sees as a new, unknown size for every key. Here a
key, a permutation and a split are the whole tensor with the rows of its lengths that are meant; only values() of a
part has to cut. The swapped embedding modules (swap.py) ask for the whole and the rows, and never cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from recpile.pycompiler.request_axis import pad_bags, padded_bags


class JaggedError(ValueError):
    """What a model asks of a jagged input and cannot have, and what to change."""


@dataclass(frozen=True)
class Bags:
    """Ids (or rows [nnz, dim]) of all keys, key by key; lengths [F, B]; weights [nnz] or None."""

    values: Tensor
    lengths: Tensor
    weights: Tensor | None
    repeated: bool = False  # of the request axis, repeated for every candidate

    def cut(self, whole: Tensor, row: int) -> Tensor:
        """The part of `whole` that is of key `row`: its size depends on the data, unless there is one key."""
        if self.lengths.shape[0] == 1:
            return whole
        totals = self.lengths.sum(dim=1)
        start, size = int(totals[:row].sum().item()), int(totals[row].item())
        for one in (start, size):
            torch._check(one >= 0)
        torch._check(start + size <= whole.shape[0])
        return torch.narrow(whole, 0, start, size)


class ExportableJagged(JaggedTensor):
    """One key of `bags`."""

    def __init__(
        self,
        values: Tensor,
        lengths: Tensor,
        weights: Tensor | None = None,
        of: Bags | None = None,
        row: int = 0,
    ) -> None:
        """From a feature's own tensors; or, with `of`, as its key number `row`: then `values` is not read."""
        self.bags = of or Bags(values, lengths.reshape(1, -1), weights)
        self.row = row
        super().__init__(values=values, weights=weights, lengths=lengths)

    @staticmethod
    def key_of(bags: Bags, row: int) -> ExportableJagged:
        return ExportableJagged(bags.values, bags.lengths[row], bags.weights, bags, row)

    def values(self) -> Tensor:
        return self.bags.cut(self.bags.values, self.row)

    def weights_or_none(self) -> Tensor | None:
        return None if self.bags.weights is None else self.bags.cut(self.bags.weights, self.row)

    def weights(self) -> Tensor:
        weights = self.weights_or_none()
        if weights is None:
            raise JaggedError("the input has no weights; say weighted=True in the schema")
        return weights

    def to_padded_dense(self, desired_length: int | None = None, padding_value: float = 0.0) -> Tensor:
        """[B, desired_length, …]: every bag cut or padded. Unlike TorchRec's, the length must be said."""
        return self._padded(self.bags.values, desired_length, padding_value)

    def to_padded_dense_weights(self, desired_length: int | None = None, padding_value: float = 0.0) -> Tensor | None:
        return None if self.bags.weights is None else self._padded(self.bags.weights, desired_length, padding_value)

    def _padded(self, whole: Tensor, length: int | None, padding: float) -> Tensor:
        if length is None:
            raise JaggedError(
                "to_padded_dense() without a length makes the tensor as long as the longest bag of the batch: a "
                "request's answer would depend on what it is coalesced with; give desired_length"
            )
        # What is padded once a request must be seen to be padding; else its operators may as well join the others.
        pad = pad_bags if self.bags.repeated else padded_bags
        return pad(whole, self.bags.lengths, self.row, length, padding)


class ExportableKeyedJagged(KeyedJaggedTensor):
    """Rows `rows` of `bags`, one a key; all of them, in order, as the caller's input arrives."""

    def __init__(
        self,
        keys: list[str],
        values: Tensor,
        lengths: Tensor,
        weights: Tensor | None = None,
        of: Bags | None = None,
        rows: list[int] | None = None,
    ) -> None:
        """From a caller's tensors; or, with `of`, as its rows `rows`: then `values` and `weights` are not read."""
        self.bags = of or Bags(values, lengths.reshape(len(keys), -1), weights)
        self.rows = list(range(len(keys))) if rows is None else rows
        super().__init__(keys=keys, values=values, weights=weights, lengths=lengths)

    def _keys_at(self, places: list[int]) -> ExportableKeyedJagged:
        keys, rows = [self._keys[i] for i in places], [self.rows[i] for i in places]
        lengths = self.bags.lengths[rows].reshape(-1)
        return ExportableKeyedJagged(keys, self.bags.values, lengths, self.bags.weights, self.bags, rows)

    @property
    def _whole(self) -> bool:
        return self.rows == list(range(self.bags.lengths.shape[0]))

    def values(self) -> Tensor:
        if self._whole:
            return self.bags.values
        return torch.cat([self.bags.cut(self.bags.values, row) for row in self.rows])

    def weights_or_none(self) -> Tensor | None:
        weights = self.bags.weights
        if weights is None or self._whole:
            return weights
        return torch.cat([self.bags.cut(weights, row) for row in self.rows])

    def weights(self) -> Tensor:
        weights = self.weights_or_none()
        if weights is None:
            raise JaggedError("the input has no weights; say weighted=True in the schema")
        return weights

    def stride(self) -> int:
        return self.bags.lengths.shape[-1]

    def stride_per_key(self) -> list[int]:
        return [self.stride()] * len(self._keys)

    def __getitem__(self, key: str) -> JaggedTensor:
        if key not in self._keys:
            raise JaggedError(
                f"the KeyedJaggedTensor has keys {self._keys} and no '{key}'; name it in the schema's keys"
            )
        return ExportableJagged.key_of(self.bags, self.rows[self._keys.index(key)])

    def to_dict(self, compute_offsets: bool = True) -> dict[str, JaggedTensor]:
        return {key: self[key] for key in self._keys}

    def permute(self, indices: list[int], indices_tensor: Tensor | None = None) -> KeyedJaggedTensor:
        return self._keys_at(indices)

    def split(self, segments: list[int]) -> list[KeyedJaggedTensor]:
        ends = [sum(segments[: i + 1]) for i in range(len(segments))]
        return [self._keys_at(list(range(end - size, end))) for end, size in zip(ends, segments, strict=True)]


def bags_of(features: KeyedJaggedTensor) -> tuple[Bags, list[int]]:
    """The whole that a KeyedJaggedTensor is of, and the row of its lengths that each key is."""
    if isinstance(features, ExportableKeyedJagged):
        return features.bags, features.rows
    keys = len(features.keys())
    bags = Bags(features.values(), features.lengths().view(keys, -1), features.weights_or_none())
    return bags, list(range(keys))
