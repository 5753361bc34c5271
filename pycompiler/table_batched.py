"""What TorchRec's embedding modules are swapped for: modules that make one table-batched lookup each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torchrec.modules.embedding_configs import BaseEmbeddingConfig, EmbeddingBagConfig, EmbeddingConfig, PoolingType
from torchrec.modules.embedding_modules import get_embedding_names_by_table
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor, KeyedTensor

from recpile.pycompiler import operators
from recpile.pycompiler.jagged import Bags, ExportableJagged, bags_of


class CaptureError(ValueError):
    """A model that cannot be captured, and what to change. `part`: the path of the module to blame, if it is one."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        self.part = part


class TableBatchedBags(nn.Module):
    """An EmbeddingBagCollection as `recpile::embedding_bags` calls: one if all its tables pool alike, else two.

    Takes a KeyedJaggedTensor, gives a KeyedTensor with the collection's own keys, in its order. `tables`: a module with
    an fp32 `weight` [rows, dim] for each table's name.
    """

    def __init__(self, path: str, configs: Sequence[EmbeddingBagConfig], tables: nn.ModuleDict, weighted: bool) -> None:
        super().__init__()
        self.path, self.configs, self.weighted = path, list(configs), weighted
        # Under the collection's own name: the model may reach into it (weight tying), and weights keep their names.
        self.embedding_bags = tables
        self.embedding_names = [name for names in get_embedding_names_by_table(self.configs) for name in names]

    def forward(self, features: KeyedJaggedTensor) -> KeyedTensor:
        bags, row_of_key = _rows(self.path, self.configs, features)
        weights = [features.weights() if bags.weights is None else bags.weights] if self.weighted else []
        order, widths, parts = [], [], []
        for pooling, mode in enumerate((PoolingType.SUM, PoolingType.MEAN)):
            chosen = [config for config in self.configs if config.pooling == mode]
            if not chosen:
                continue
            wanted = [(key, t) for t, config in enumerate(chosen) for key in config.feature_names]
            parts.append(
                operators.embedding_bags(
                    [self.embedding_bags[config.name].weight for config in chosen],
                    [bags.values],
                    [bags.lengths],
                    weights,
                    [0] * len(wanted),
                    [row_of_key[key] for key, _ in wanted],
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


class TableBatchedRows(nn.Module):
    """An EmbeddingCollection as unpooled `recpile::embedding_bags` calls: one, or as many as tables read one feature.

    Takes a KeyedJaggedTensor, gives the collection's dict of JaggedTensors, values [nnz of the feature, dim].
    """

    def __init__(
        self, path: str, configs: Sequence[EmbeddingConfig], tables: nn.ModuleDict, need_indices: bool
    ) -> None:
        super().__init__()
        self.path, self.configs, self.need_indices = path, list(configs), need_indices
        self.embeddings = tables
        self.names = get_embedding_names_by_table(self.configs)

    def forward(self, features: KeyedJaggedTensor) -> dict[str, JaggedTensor]:
        bags, row_of_key = _rows(self.path, self.configs, features)
        found: dict[str, JaggedTensor] = {}
        for call in self._calls():
            used = list(dict.fromkeys(t for t, _, _ in call))
            rows = operators.embedding_bags(
                [self.embeddings[self.configs[t].name].weight for t in used],
                [bags.values],
                [bags.lengths],
                [],
                [0] * len(call),
                [row_of_key[key] for _, key, _ in call],
                [used.index(t) for t, _, _ in call],
                operators.NONE,
            )
            ids = bags.values if self.need_indices else None
            looked_up = replace(bags, values=rows, weights=ids)
            found |= {name: ExportableJagged.key_of(looked_up, row_of_key[key]) for _, key, name in call}
        return {name: found[name] for names in self.names for name in names}

    def _calls(self) -> list[list[tuple[int, str, str]]]:
        """(table, key, name of the result) of each call: a key is looked up once a call."""
        calls: list[list[tuple[int, str, str]]] = []
        for t, config in enumerate(self.configs):
            for key, name in zip(config.feature_names, self.names[t], strict=True):
                fitting = next((call for call in calls if key not in {used for _, used, _ in call}), None)
                if fitting is None:
                    calls.append(fitting := [])
                fitting.append((t, key, name))
        return calls


def _rows(
    path: str, configs: Sequence[BaseEmbeddingConfig], features: KeyedJaggedTensor
) -> tuple[Bags, dict[str, int]]:
    """The whole input, and the row of its lengths that each key is."""
    if not isinstance(features, KeyedJaggedTensor):
        raise CaptureError(f"'{path}' was given a {type(features).__name__}; it takes a KeyedJaggedTensor")
    keys = list(features.keys())
    absent = [key for config in configs for key in config.feature_names if key not in keys]
    if absent:
        raise CaptureError(f"'{path}' looks up features {absent}; its input has keys {keys}")
    bags, rows = bags_of(features)
    return bags, dict(zip(keys, rows, strict=True))
