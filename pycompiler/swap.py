"""Swaps TorchRec's embedding modules for table-batched lookups, so that torch.export sees a single operator.

Exported as it is, an EmbeddingBagCollection becomes one embedding_bag a table and hundreds of symbolic-shape nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchrec.quant.embedding_modules as quantized
from torch import Tensor, nn
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection, EmbeddingCollection

from recpile.pycompiler.packing import TABLE_DTYPES, row_bytes, unpack
from recpile.pycompiler.program import Table
from recpile.pycompiler.table_batched import CaptureError, TableBatchedBags, TableBatchedRows

# What a quantized model may bring. Its own lookup of bf16 rows, with which ours would be compared, takes the process
# along: FBGEMM's kernel for CPUs divides by zero (1.8.0).
_TORCHREC_DTYPES = tuple(dtype for dtype in TABLE_DTYPES if dtype != "bf16")
_SWAPPED = (
    EmbeddingBagCollection,
    EmbeddingCollection,
    quantized.EmbeddingBagCollection,
    quantized.EmbeddingCollection,
)


@dataclass(frozen=True)
class _Tables:
    """A collection's tables: its configs in the order of its outputs, a module with an fp32 `weight` for each table,
    and the packed rows of those that it has packed."""

    configs: list[Any]  # TorchRec's EmbeddingBagConfig or EmbeddingConfig
    modules: nn.ModuleDict
    packed: dict[str, Tensor]

    def weight(self, config: Any) -> Tensor:
        weight = self.modules[config.name].weight
        assert isinstance(weight, Tensor)
        return weight


def swap_embedding_modules(model: nn.Module) -> list[tuple[Tensor, Table]]:
    """Swaps every embedding collection inside `model`, in place. Returns the tables and their weights, each once."""
    if isinstance(model, _SWAPPED):
        raise CaptureError(f"the model is a bare {type(model).__name__}; wrap it in a module whose outputs are tensors")
    # With duplicates: a module may hang in the model under two names, and must be swapped under both.
    found = [(path, module) for path, module in model.named_modules(remove_duplicate=False) if path]
    swapped: dict[nn.Module, tuple[str, nn.Module, _Tables]] = {}
    for path, module in found:
        if not isinstance(module, _SWAPPED):
            continue
        _check_forward(path, module)
        if module not in swapped:
            swapped[module] = (path, *_swap(path, module))
        parent, _, attribute = path.rpartition(".")
        setattr(model.get_submodule(parent), attribute, swapped[module][1])
    names = [config.name for _, _, held in swapped.values() for config in held.configs]
    tables: dict[Tensor, Table] = {}
    for path, _, held in swapped.values():
        for config in held.configs:
            name = config.name if names.count(config.name) == 1 else f"{path}.{config.name}"
            rows, dim = held.weight(config).shape
            packed = held.packed.get(config.name)
            dtype = config.data_type.value.lower() if packed is not None else "fp32"
            tables.setdefault(held.weight(config), Table(name, rows, dim, given=packed, given_dtype=dtype))
    return list(tables.items())


def _check_forward(path: str, module: nn.Module) -> None:
    own = next(one for one in _SWAPPED if isinstance(module, one))
    if type(module).forward is not own.forward or module._forward_hooks or module._forward_pre_hooks:
        raise CaptureError(
            f"'{path}' is a {type(module).__name__} with a forward or hooks of its own, which the swap for a "
            "table-batched lookup would drop; move them into the module around it",
            part=path,
        )


def _swap(path: str, module: nn.Module) -> tuple[nn.Module, _Tables]:
    if isinstance(module, (quantized.EmbeddingBagCollection, quantized.EmbeddingCollection)):
        held = _quantized_tables(path, module)
    else:
        held = _plain_tables(path, module)
    if isinstance(module, (EmbeddingBagCollection, quantized.EmbeddingBagCollection)):
        bags = [config for config in held.configs if isinstance(config, EmbeddingBagConfig)]
        for config in bags:
            if config.pooling == PoolingType.MEAN and module.is_weighted():
                raise CaptureError(
                    f"'{path}', table '{config.name}': mean pooling with weights is not defined by TorchRec; use sum "
                    "pooling",
                    part=path,
                )
        return TableBatchedBags(path, bags, held.modules, module.is_weighted()), held
    assert isinstance(module, (EmbeddingCollection, quantized.EmbeddingCollection))
    return TableBatchedRows(path, held.configs, held.modules, module.need_indices()), held


def _plain_tables(path: str, module: Any) -> _Tables:
    if isinstance(module, EmbeddingBagCollection):
        configs: list[Any] = list(module.embedding_bag_configs())
        modules: Any = module.embedding_bags
    else:
        configs, modules = list(module.embedding_configs()), module.embeddings
    for config in configs:
        where = f"{type(module).__name__} '{path}', table '{config.name}'"
        weight = modules[config.name].weight
        if config.data_type != DataType.FP32:
            raise CaptureError(
                f"{where}: got data type {config.data_type}; export from fp32 weights (--embedding-dtype packs them)",
                part=path,
            )
        if weight.dtype != torch.float32:
            raise CaptureError(f"{where}: its weight is {weight.dtype}; export an fp32 model (.float())", part=path)
    return _Tables(configs, modules, {})


def _quantized_tables(path: str, module: Any) -> _Tables:
    """The rows of FBGEMM's inference modules, as they are packed and as fp32."""
    if module.output_dtype() != torch.float32:
        raise CaptureError(
            f"{type(module).__name__} '{path}' gives {module.output_dtype()}, and lookups of an artifact give fp32: "
            "quantize with output_dtype=torch.float32, or export the model before quantization",
            part=path,
        )
    groups = module._key_to_tables
    # Of a pooled collection the tables of each pooling; of an unpooled one a list of tables for each type.
    configs = [config for key in groups for config in groups[key]]
    packed: dict[str, Tensor] = {}
    for tables, lookup in zip(groups.values(), module._emb_modules, strict=True):
        rows = lookup.split_embedding_weights_with_scale_bias(split_scale_bias_mode=0)
        for config, (row, _, _) in zip(tables, rows, strict=True):
            dtype = config.data_type.value.lower()
            if dtype not in _TORCHREC_DTYPES:
                raise CaptureError(
                    f"{type(module).__name__} '{path}', table '{config.name}': got data type {config.data_type}; "
                    f"quantize to one of {', '.join(_TORCHREC_DTYPES)}, or export the model before quantization",
                    part=path,
                )
            # FBGEMM pads rows to whole cache lines; our rows lie side by side.
            packed[config.name] = row[:, : row_bytes(dtype, config.embedding_dim)].contiguous()
    # The fp32 rows stand for the packed ones in the graph until QuantizeTables puts those back.
    modules = nn.ModuleDict()
    for config in configs:
        modules[config.name] = nn.Module()
        weight = unpack(packed[config.name], config.data_type.value.lower(), config.embedding_dim)
        modules[config.name].weight = nn.Parameter(weight, requires_grad=False)
    return _Tables(configs, modules, packed)
