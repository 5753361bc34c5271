"""Swaps TorchRec's embedding modules for one table-batched call each, so that torch.export sees a single operator.

Exported as it is, an EmbeddingBagCollection becomes one embedding_bag a table and hundreds of symbolic-shape nodes.
"""

from __future__ import annotations

import torch
from torch import nn
from torchrec.modules.embedding_configs import DataType, PoolingType
from torchrec.modules.embedding_modules import (
    EmbeddingBagCollection,
    EmbeddingCollection,
    get_embedding_names_by_table,
)
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from recpile.pycompiler import operators
from recpile.pycompiler.program import Table


class CaptureError(ValueError):
    """A model that cannot be captured, and what to change."""


class TableBatchedBags(nn.Module):
    """An EmbeddingBagCollection as `recpile::embedding_bags` calls: one if all its tables pool alike, else two.

    Takes a KeyedJaggedTensor, gives a KeyedTensor with the collection's own keys, in its order. Shares its weights.
    """

    def __init__(self, collection: EmbeddingBagCollection, path: str) -> None:
        super().__init__()
        self.path = path
        self.weighted = collection.is_weighted()
        self.configs = list(collection.embedding_bag_configs())
        # Under the collection's own name: the model may reach into it (weight tying), and weights keep their names.
        self.embedding_bags = collection.embedding_bags
        for config in self.configs:
            self._check(config)
        self.embedding_names: list[str] = [
            name for names in get_embedding_names_by_table(self.configs) for name in names
        ]

    def _check(self, config) -> None:
        where = f"EmbeddingBagCollection '{self.path}', table '{config.name}'"
        if config.data_type != DataType.FP32:
            raise CaptureError(
                f"{where}: got data type {config.data_type}; export from fp32 weights (--embedding-dtype packs them)"
            )
        weight = self.embedding_bags[config.name].weight
        if weight.dtype != torch.float32:
            raise CaptureError(f"{where}: its weight is {weight.dtype}; export an fp32 model (no .half(), .bfloat16())")
        if weight.is_meta:
            raise CaptureError(f"{where}: its weight is on the meta device; build the model on the CPU")
        if config.pooling == PoolingType.MEAN and self.weighted:
            raise CaptureError(f"{where}: mean pooling with weights is not defined by TorchRec; use sum pooling")

    def forward(self, features: KeyedJaggedTensor) -> KeyedTensor:
        keys = list(features.keys())
        lengths = features.lengths().view(len(keys), -1)
        weights = [features.weights()] if self.weighted else []
        order, widths, parts = [], [], []
        for pooling, mode in enumerate((PoolingType.SUM, PoolingType.MEAN)):
            chosen = [config for config in self.configs if config.pooling == mode]
            if not chosen:
                continue
            wanted = [(key, t) for t, config in enumerate(chosen) for key in config.feature_names]
            absent = [key for key, _ in wanted if key not in keys]
            if absent:
                raise CaptureError(
                    f"EmbeddingBagCollection '{self.path}' looks up features {absent}; its input has keys {keys}"
                )
            parts.append(
                operators.embedding_bags(
                    [self.embedding_bags[config.name].weight for config in chosen],
                    [features.values()],
                    [lengths],
                    weights,
                    [0] * len(wanted),
                    [keys.index(key) for key, _ in wanted],
                    [t for _, t in wanted],
                    pooling,
                )
            )
            order += [(self.configs.index(chosen[t]), key) for key, t in wanted]
            widths.append([chosen[t].embedding_dim for _, t in wanted])
        return self._keyed(order, widths, parts)

    def _keyed(self, order, widths, parts) -> KeyedTensor:
        """Brings the calls' columns into the collection's order: table by table, feature by feature."""
        dims = [config.embedding_dim for config in self.configs for _ in config.feature_names]
        if len(parts) == 1:
            return KeyedTensor(keys=self.embedding_names, length_per_key=dims, values=parts[0], key_dim=1)
        columns = [column for part, width in zip(parts, widths, strict=True) for column in part.split(width, dim=1)]
        wanted = [(t, key) for t, config in enumerate(self.configs) for key in config.feature_names]
        values = torch.cat([columns[order.index(one)] for one in wanted], dim=1)
        return KeyedTensor(keys=self.embedding_names, length_per_key=dims, values=values, key_dim=1)


def swap_embedding_modules(model: nn.Module) -> list[tuple[nn.Parameter, Table]]:
    """Swaps every EmbeddingBagCollection inside `model`, in place. Returns the tables and their weights, each once."""
    if isinstance(model, EmbeddingBagCollection):
        raise CaptureError("the model is a bare EmbeddingBagCollection; wrap it in a module whose outputs are tensors")
    # With duplicates: a module may hang in the model under two names, and must be swapped under both.
    found = [(path, module) for path, module in model.named_modules(remove_duplicate=False) if path]
    for path, module in found:
        if isinstance(module, EmbeddingCollection):
            raise CaptureError(
                f"'{path}' is an EmbeddingCollection (unpooled lookups), which is not supported; "
                "use an EmbeddingBagCollection"
            )
    swapped: dict[EmbeddingBagCollection, TableBatchedBags] = {}
    for path, module in found:
        if isinstance(module, EmbeddingBagCollection):
            hooks = module._forward_hooks or module._forward_pre_hooks
            if type(module).forward is not EmbeddingBagCollection.forward or hooks:
                raise CaptureError(
                    f"'{path}' is a {type(module).__name__} with a forward or hooks of its own, which the swap for a "
                    "table-batched lookup would drop; move them into the module around it"
                )
            if module not in swapped:
                swapped[module] = TableBatchedBags(module, path)
            parent, _, attribute = path.rpartition(".")
            setattr(model.get_submodule(parent), attribute, swapped[module])
    names = [config.name for bags in swapped.values() for config in bags.configs]
    tables: dict[nn.Parameter, Table] = {}
    for bags in swapped.values():
        for config in bags.configs:
            name = config.name if names.count(config.name) == 1 else f"{bags.path}.{config.name}"
            table = Table(name=name, rows=config.num_embeddings, dim=config.embedding_dim)
            weight = bags.embedding_bags[config.name].weight
            assert isinstance(weight, nn.Parameter)
            tables.setdefault(weight, table)
    return list(tables.items())
