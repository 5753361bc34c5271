"""Models that hold many constructs each, so that few exports show all of them in both runtimes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchrec.inference.modules import quantize_inference_model
from torchrec.modules.embedding_configs import EmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingCollection
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor
from zoo import collection

from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged

Made = tuple[nn.Module, InputSchema]
DIM, LENGTH = 8, 5
IDS = torch.int64


def rows(*tables: tuple[str, int, list[str]]) -> EmbeddingCollection:
    made = EmbeddingCollection(
        tables=[
            EmbeddingConfig(name=name, num_embeddings=count, embedding_dim=DIM, feature_names=features)
            for name, count, features in tables
        ]
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def tower() -> nn.Sequential:
    norm = nn.BatchNorm1d(DIM)
    assert norm.running_mean is not None
    norm.running_mean.normal_()
    return nn.Sequential(nn.Linear(2 * DIM, DIM), norm, nn.ReLU(), nn.Dropout(0.3))


class Sequence(nn.Module):
    """TorchRec: an unpooled collection whose table two features share, attention of the target over the history, two
    towers with batch norms and dropout, a mixture of three experts, two tasks; a loss for training beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = rows(("item", 40, ["history", "target"]))
        self.user = collection(("city", 7, DIM, ["city"]), ("genres", 19, DIM, ["genres"]), mean=True)
        self.left, self.right = (tower() for _ in range(2))
        self.norm = nn.LayerNorm(2 * DIM)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(2 * DIM, 8), nn.ReLU()) for _ in range(3))
        self.gates = nn.ModuleList(nn.Linear(2 * DIM, 3) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(8, 1) for _ in range(2))
        self.auxiliary = nn.Linear(2 * DIM, 1)

    def forward(self, items: KeyedJaggedTensor, user: KeyedJaggedTensor) -> dict[str, Tensor]:
        looked_up = self.rows(items)
        history = looked_up["history"].to_padded_dense(LENGTH)
        target = looked_up["target"].to_padded_dense(1).squeeze(1)
        real = torch.arange(LENGTH) < looked_up["history"].lengths().unsqueeze(1)
        scores = (history @ target.unsqueeze(2)).squeeze(2).masked_fill(~real, -1e9)
        attended = (scores.softmax(1).unsqueeze(1) @ history).squeeze(1)
        pooled = self.user(user)
        both = torch.cat([self.left(torch.cat([attended, target], dim=1)), self.right(pooled.values())], dim=1)
        both = self.norm(both)
        experts = torch.stack([expert(both) for expert in self.experts], dim=1)
        tasks = [
            torch.sigmoid(head((gate(both).softmax(1).unsqueeze(2) * experts).sum(1))).squeeze(1)
            for gate, head in zip(self.gates, self.heads, strict=True)
        ]
        loss = nn.functional.binary_cross_entropy(tasks[0], torch.zeros_like(tasks[0])) + self.auxiliary(both).mean()
        return {"click": tasks[0], "buy": tasks[1], "city": pooled["city"], "loss": loss}


def sequence() -> Made:
    torch.manual_seed(11)
    inputs = [KeyedJagged("items", ["history", "target"]), KeyedJagged("user", ["city", "genres"])]
    return Sequence().eval(), InputSchema(inputs, outputs=["click", "buy", "city"])


class Plain(nn.Module):
    """Plain PyTorch lookups of every form, their ids prepared in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({"city": nn.Embedding(7, DIM), "days": nn.Embedding(4, DIM)})
        self.more = nn.ModuleList([nn.Embedding(11, DIM), nn.Embedding(31, DIM)])
        self.genres = nn.EmbeddingBag(19, DIM, mode="mean")
        self.weighted = nn.EmbeddingBag(19, DIM, mode="sum")
        self.tags = nn.EmbeddingBag(23, DIM, mode="sum", include_last_offset=True, padding_idx=0)
        self.register_buffer("bounds", torch.tensor([0.0, 0.5, 1.0]))
        self.out = nn.Linear(7 * DIM, 1)
        # The way out of max_norm=1 that its refusal gives.
        with torch.no_grad():
            self.get_parameter("more.0.weight").renorm_(2, 0, 1)

    def forward(self, ids: Tensor, age: Tensor, genres: Tensor, weights: Tensor, tags: JaggedTensor) -> Tensor:
        parts = [
            self.tables["city"](ids[:, 0] % 7),
            self.tables["days"](torch.bucketize(age, self.bounds)),
            self.more[0](ids[:, 1].clamp(0, 10)),
            self.more[1]((ids[:, 2] * 2654435761) % 31),
            self.genres(genres),
            self.weighted(genres, per_sample_weights=weights),
            self.tags(tags.values(), torch.nn.functional.pad(tags.lengths().cumsum(0), (1, 0))),
        ]
        return torch.sigmoid(self.out(torch.cat(parts, dim=1))).squeeze(1)


def plain() -> Made:
    torch.manual_seed(12)
    inputs = [Dense("ids", (3,), IDS), Dense("age"), Dense("genres", (4,), IDS), Dense("weights", (4,)), Jagged("tags")]
    return Plain().eval(), InputSchema(inputs)


class Collections(nn.Module):
    """A pooled and an unpooled collection, which quantize_inference_model quantizes."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = collection(("city", 7, DIM, ["city"]), ("genres", 19, DIM, ["genres"]))
        self.rows = rows(("item", 40, ["history"]))
        self.out = nn.Linear(3 * DIM, 1)

    def forward(self, items: KeyedJaggedTensor, user: KeyedJaggedTensor) -> Tensor:
        history = self.rows(items)["history"].to_padded_dense(LENGTH).sum(1)
        return torch.sigmoid(self.out(torch.cat([self.bags(user).values(), history], dim=1))).squeeze(1)


def quantized() -> Made:
    torch.manual_seed(13)
    inputs = [KeyedJagged("items", ["history"]), KeyedJagged("user", ["city", "genres"])]
    return quantize_inference_model(Collections()).eval(), InputSchema(inputs)
