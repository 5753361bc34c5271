"""The models that tests share: small, untrained, with weights large enough that a wrong row shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchrec.models.dlrm import DLRM
from torchrec.modules.embedding_configs import EmbeddingBagConfig, EmbeddingConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection
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


class TwoSides(nn.Module):
    """A ranker on both batch axes: a user, her history and context once a request; items, each a candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.user = collection(("user", 50, 8, ["user"]), ("tags", 30, 8, ["tags"]))
        self.history = EmbeddingCollection(
            tables=[EmbeddingConfig(name="history", num_embeddings=40, embedding_dim=8, feature_names=["history"])]
        )
        self.item = nn.Embedding(40, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recent = nn.GRU(8, 8, batch_first=True)
        self.key, self.value, self.query = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.tower = nn.Sequential(nn.Linear(3 + 16 + 8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.out = nn.Sequential(nn.Linear(8 + 8 + 8 + 2, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, context: Tensor, about: KeyedJaggedTensor, item: Tensor, price: Tensor) -> Tensor:
        seen = self.encoder(self.history(about)["history"].to_padded_dense(6))
        _, recent = self.recent(seen)
        user = self.tower(torch.cat([context, self.user(about).values(), recent[0]], dim=1))
        row = self.item(item % 40)
        weights = torch.softmax(self.query(row).unsqueeze(1) @ self.key(seen).transpose(1, 2), dim=-1)
        interest = (weights @ self.value(seen)).squeeze(1)
        return torch.sigmoid(self.out(torch.cat([user, interest, row, price], dim=1))).squeeze(1)


def two_sides() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(6)
    inputs = [
        Dense("context", (3,), axis="request"),
        KeyedJagged("about", ["user", "tags", "history"], axis="request"),
        Dense("item", dtype=torch.int64),
        Dense("price", (2,)),
    ]
    return TwoSides().eval(), InputSchema(inputs)


class WholeNumbers(nn.Module):
    """Both batch axes, and weights of -1, 0 and 1: on whole numbers every sum is exact, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.user = collection(("user", 50, 8, ["user"]), ("seen", 30, 8, ["seen"]))
        self.item = collection(("item", 40, 8, ["item", "tags"]))
        self.hidden, self.out = nn.Linear(16 + 16 + 2, 16), nn.Linear(16, 1)
        for parameter in self.parameters():
            parameter.data = torch.randint(-1, 2, parameter.shape).float()

    def forward(self, context: Tensor, about: KeyedJaggedTensor, things: KeyedJaggedTensor) -> Tensor:
        columns = torch.cat([context, self.user(about).values(), self.item(things).values()], dim=1)
        # A power of two, so that it stays exact; small, so that it is compared as closely as a probability.
        return self.out(torch.relu(self.hidden(columns))).squeeze(1) * 2**-12


def whole_numbers() -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(7)
    about = KeyedJagged("about", ["user", "seen"], axis="request")
    return WholeNumbers().eval(), InputSchema(
        [Dense("context", (2,), axis="request"), about, KeyedJagged("things", ["item", "tags"])]
    )
