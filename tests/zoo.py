"""The models that tests share: small, untrained, with weights large enough that a wrong row shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchrec.models.dlrm import DLRM
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged


def collection(
    *tables: tuple[str, int, int, list[str]], weighted: bool = False, mean: bool = False
) -> EmbeddingBagCollection:
    """Tables as (name, rows, dim, features), with rows that differ visibly."""
    pooling = PoolingType.MEAN if mean else PoolingType.SUM
    made = EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(
                name=name, num_embeddings=rows, embedding_dim=dim, feature_names=features, pooling=pooling
            )
            for name, rows, dim, features in tables
        ],
        is_weighted=weighted,
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


class TinyDLRM(nn.Module):
    """One collection, five features of which two share a table."""

    keys = ("user", "item", "genres", "city", "history")

    def __init__(self) -> None:
        super().__init__()
        tables = collection(
            ("user", 50, 16, ["user"]),
            ("item", 80, 16, ["item", "history"]),
            ("genres", 19, 16, ["genres"]),
            ("city", 7, 16, ["city"]),
        )
        self.dlrm = DLRM(
            tables, dense_in_features=4, dense_arch_layer_sizes=[32, 16], over_arch_layer_sizes=[32, 16, 1]
        )

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.sigmoid(self.dlrm(dense, sparse)).squeeze(1)


def tiny_dlrm() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(1)
    return TinyDLRM().eval(), InputSchema([Dense("dense", (4,)), KeyedJagged("sparse", TinyDLRM.keys)])


class TwoSources(nn.Module):
    """Three collections over two KJTs: two of them can be merged, one is weighted; two outputs, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a = collection(("x", 58, 8, ["f0", "f2"]), ("y", 54, 4, ["f1"]))
        self.b = collection(("z", 66, 16, ["f2"]))
        self.c = collection(("x", 66, 16, ["f0"]), weighted=True)
        self.out = nn.Linear(8 + 8 + 4 + 16 + 16 + 16 + 3, 1)

    def forward(self, dense: Tensor, sparse: KeyedJaggedTensor, other: KeyedJaggedTensor) -> dict[str, Tensor]:
        first = self.a(sparse)
        parts = [
            first["f0"],
            first["f2"],
            first["f1"],
            self.b(sparse).values(),
            self.c(other).values(),
            self.b(other).values(),
        ]
        return {
            "score": torch.sigmoid(self.out(torch.cat([*parts, dense], dim=1))).squeeze(1),
            "user_vector": first["f0"],
        }


def two_sources() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(2)
    other = KeyedJagged("other", ["f2", "f0"], dtype=torch.int32, lengths_dtype=torch.int32, weighted=True)
    inputs = [Dense("dense", (3,)), KeyedJagged("sparse", ["f0", "f1", "f2"]), other]
    return TwoSources().eval(), InputSchema(inputs, outputs=["score", "user_vector"])


class HashedIds(nn.Module):
    """A jagged input whose ids are hashed in the model, in front of a mean-pooled lookup."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = collection(("h", 31, 8, ["h"]), mean=True)
        self.out = nn.Linear(8 + 1, 1)

    def forward(self, price: Tensor, ids: JaggedTensor) -> Tensor:
        hashed = KeyedJaggedTensor(keys=["h"], values=(ids.values() * 2654435761) % 31, lengths=ids.lengths())
        pooled = self.bags(hashed).values()
        return torch.sigmoid(self.out(torch.cat([pooled, price.unsqueeze(1)], dim=1))).squeeze(1)


def hashed_ids() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(3)
    return HashedIds().eval(), InputSchema([Dense("price"), Jagged("ids")])


class MixedPooling(nn.Module):
    """One collection with sum- and mean-pooled tables, interleaved."""

    def __init__(self) -> None:
        super().__init__()
        configs = [
            EmbeddingBagConfig(
                name=f"t{i}",
                num_embeddings=20 + i,
                embedding_dim=4 + 4 * i,
                feature_names=[f"f{i}"],
                pooling=PoolingType.MEAN if i % 2 else PoolingType.SUM,
            )
            for i in range(4)
        ]
        self.bags = EmbeddingBagCollection(tables=configs)
        self.out = nn.Linear(4 + 8 + 12 + 16, 1)

    def forward(self, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.sigmoid(self.out(self.bags(sparse).values())).squeeze(1)


def mixed_pooling() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(4)
    # Keys in another order than the tables, and one that no table reads.
    return MixedPooling().eval(), InputSchema([KeyedJagged("sparse", ["f3", "unused", "f1", "f0", "f2"])])


class StridedIds(nn.Module):
    """Ids that a stage computes as a strided view, with the input's own lengths, and weights likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = collection(("h", 31, 8, ["h"]), weighted=True)
        self.out = nn.Linear(8, 1)

    def forward(self, ids: JaggedTensor) -> Tensor:
        values = torch.stack([ids.values() % 31, ids.values() % 7], dim=1)[:, 0]
        weights = torch.stack([ids.values() * 0.1, ids.values() * 5.0], dim=1)[:, 0]
        bags = KeyedJaggedTensor(keys=["h"], values=values, lengths=ids.lengths(), weights=weights)
        return torch.sigmoid(self.out(self.bags(bags).values())).squeeze(1)


def strided_ids() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(5)
    return StridedIds().eval(), InputSchema([Jagged("ids")])
