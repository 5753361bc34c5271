"""The example model: a DLRM on TorchRec that scores how likely a user is to like a film.

Naumov et al. 2019, arXiv 1906.00091; TorchRec's building blocks are used as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.models.dlrm import DLRM

from recpile.models.examples import FlatInputs
from recpile.models.vocabulary import DENSE, KEYS, VOCABULARY
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged

_INITIAL_RANGE = 0.02
# The history says what the user liked in the vectors of the items themselves: it shares the item's table.
_ITEM_TABLE = ("item", "liked", "disliked")


@dataclass(frozen=True)
class DLRMOptions:
    """Widths of the layers. dropout: of pooled vectors and of the interaction, in training only."""

    embedding_dim: int = 32
    dense_hidden: int = 64
    over_hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if min(self.embedding_dim, self.dense_hidden, *self.over_hidden, len(self.over_hidden)) < 1:
            raise ValueError(f"DLRMOptions: got {self}; use widths of 1 or more and one or more over_hidden layers")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"DLRMOptions.dropout: got {self.dropout}; use 0 to below 1")


class MovieLensDLRM(nn.Module):
    """Dense float32 [B, 12] and the ten KEYS of a KeyedJaggedTensor -> probability float32 [B]."""

    def __init__(self, options: DLRMOptions | None = None) -> None:
        super().__init__()
        options = options or DLRMOptions()
        dim = options.embedding_dim
        self.dlrm = DLRM(
            EmbeddingBagCollection(tables=_tables(dim), device=torch.device("cpu")),
            dense_in_features=len(DENSE),
            dense_arch_layer_sizes=[options.dense_hidden, dim],
            over_arch_layer_sizes=[*options.over_hidden, 1],
        )
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.sigmoid(self.logits(dense, sparse))

    def logits(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        """The scores [B] before the sigmoid, for a loss that is stable."""
        embedded = self.dlrm.dense_arch(dense)
        pooled = self.dropout(self.dlrm.sparse_arch(sparse))
        crossed = self.dropout(self.dlrm.inter_arch(embedded, pooled))
        return self.dlrm.over_arch(crossed).squeeze(-1)

    @property
    def item_table(self) -> Tensor:
        """The rows [1683, D] of the item table, which `item`, `liked` and `disliked` share."""
        return self.get_parameter("dlrm.sparse_arch.embedding_bag_collection.embedding_bags.item.weight")


def build() -> tuple[MovieLensDLRM, InputSchema]:
    """The model in eval mode with fresh weights, and its input schema; load a checkpoint with `load_state_dict`."""
    schema = InputSchema([Dense("dense", (len(DENSE),)), KeyedJagged("sparse", keys=KEYS)], outputs=["score"])
    return MovieLensDLRM().eval(), schema


def model_inputs(flat: FlatInputs) -> tuple[Tensor, KeyedJaggedTensor]:
    """The arguments of `forward` from the flat inputs of `Examples.flat`."""
    sparse = KeyedJaggedTensor(
        keys=list(KEYS),
        values=torch.from_numpy(flat["sparse.values"]),
        lengths=torch.from_numpy(flat["sparse.lengths"]).reshape(-1),
    )
    return torch.from_numpy(flat["dense"]), sparse


def _tables(dim: int) -> list[EmbeddingBagConfig]:
    features = {"item": list(_ITEM_TABLE)} | {key: [key] for key in KEYS if key not in _ITEM_TABLE}
    return [
        EmbeddingBagConfig(
            name=name,
            num_embeddings=VOCABULARY[name],
            embedding_dim=dim,
            feature_names=feature_names,
            weight_init_min=-_INITIAL_RANGE,
            weight_init_max=_INITIAL_RANGE,
        )
        for name, feature_names in features.items()
    ]
