"""Models of torchrec.models and of its modules, small."""

from __future__ import annotations

from torch import nn
from torchrec.models.deepfm import SimpleDeepFMNN
from torchrec.models.dlrm import DLRM, DLRM_DCN, DLRM_Projection
from torchrec.models.experimental.transformerdlrm import DLRM_Transformer
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.modules.embedding_tower import EmbeddingTower, EmbeddingTowerCollection
from zoo import collection

from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged

Made = tuple[nn.Module, InputSchema]
KEYS = ("user", "item", "genres")
DIM = 8


def dlrm() -> Made:
    return _made(DLRM(_bags(), 4, [16, DIM], [16, 1]))


def dlrm_projection() -> Made:
    return _made(DLRM_Projection(_bags(), 4, [16, DIM], [16, 1], [16, 2 * DIM], [16, 3 * DIM]))


def dlrm_dcn() -> Made:
    return _made(DLRM_DCN(_bags(), 4, [16, DIM], [16, 1], dcn_num_layers=2, dcn_low_rank_dim=4))


def simple_deepfm() -> Made:
    return _made(SimpleDeepFMNN(4, _bags(), hidden_layer_size=16, deep_fm_dimension=5))


def embedding_towers() -> Made:
    """Two towers, each with its own collection and interaction."""
    return EmbeddingTowerCollection([_tower("a"), _tower("b")]), InputSchema([KeyedJagged("features", KEYS)])


def dlrm_transformer() -> Made:
    """Its encoder takes [B, F, D] for [F, B, D]: it attends over the batch, so that candidates see each other."""
    return _made(DLRM_Transformer(_bags(), 4, [16, DIM], [16, 1], nhead=2, ntransformer_layers=1))


def _bags() -> EmbeddingBagCollection:
    return collection(*[(f"t_{key}", 20 + i, DIM, [key]) for i, key in enumerate(KEYS)])


class _Joined(nn.Module):
    """The interaction of a tower, which its user writes: a layer over all features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(len(KEYS) * DIM, 4)

    def forward(self, embeddings):
        return self.layer(embeddings.values()).relu()


def _tower(name: str) -> EmbeddingTower:
    tables = collection(*[(f"{name}_{key}", 20 + i, DIM, [key]) for i, key in enumerate(KEYS)])
    return EmbeddingTower(tables, _Joined())


def _made(model: nn.Module) -> Made:
    return model, InputSchema([Dense("dense_features", (4,)), KeyedJagged("sparse_features", KEYS)])
