"""The model that the serving benchmark serves: a DLRM whose dense layers cost about 4.7 MFLOP a candidate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.models.dlrm import DLRM

from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged

DENSE = 13
DIM = 64
ROWS = 20_000
KEYS = tuple(f"f{i}" for i in range(26))


class BenchmarkDLRM(nn.Module):
    """Dense float32 [B, 13] and 26 features of a KeyedJaggedTensor -> probability float32 [B]."""

    def __init__(self) -> None:
        super().__init__()
        tables = [
            EmbeddingBagConfig(name=f"t{key}", num_embeddings=ROWS, embedding_dim=DIM, feature_names=[key])
            for key in KEYS
        ]
        self.dlrm = DLRM(
            EmbeddingBagCollection(tables=tables, device=torch.device("cpu")),
            dense_in_features=DENSE,
            dense_arch_layer_sizes=[512, 256, DIM],
            over_arch_layer_sizes=[1024, 1024, 512, 256, 1],
        )

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.sigmoid(self.dlrm(dense, sparse)).squeeze(1)


def build() -> tuple[nn.Module, InputSchema]:
    """The model in eval mode, always with the same weights, and its input schema."""
    torch.manual_seed(7)
    return BenchmarkDLRM().eval(), InputSchema([Dense("dense", (DENSE,)), KeyedJagged("sparse", KEYS)])
