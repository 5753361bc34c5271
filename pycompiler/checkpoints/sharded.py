"""ShardedTensor and DTensor values of a state_dict, put together in one process and without a process group.

TorchRec's sharded modules give ShardedTensors from `state_dict()`. Unpickling one asks for the process group that wrote
it, so a stand-in takes what was pickled: the shards of the rank that saved, and where each lies in the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor.metadata import (
    MEM_FORMAT_ENCODING,
    ShardedTensorMetadata,
    TensorProperties,
)
from torch.distributed._shard.sharded_tensor.shard import Shard
from torch.distributed._shard.sharding_spec import ChunkShardingSpec, EnumerableShardingSpec
from torch.distributed.remote_device import _remote_device
from torch.distributed.tensor import DTensor, Replicate

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.inert import Inert


class SavedShards(Tensor):
    """Stands in for a ShardedTensor while a file is read: its shards and the metadata of the whole."""

    shards: list[Shard]
    metadata: ShardedTensorMetadata

    def __setstate__(self, state: tuple) -> None:
        self.shards, self.metadata = state[0], state[1]

    @classmethod
    # pyrefly: ignore [bad-override]
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise CheckpointError(f"{func} of a sharded tensor that was not put together")


class SavedGroup:
    """Stands in for the description of the process group that saved."""

    def __init__(self, *described: object) -> None:
        self.described = described


def _member(owner: object, name: str) -> Enum | type:
    """Stands in for getattr, by which members are pickled; anything else it could reach stays out of reach."""
    if owner is SavedShards and name == "ProcessGroupState":
        return SavedGroup
    if isinstance(owner, type) and issubclass(owner, Inert):
        return owner
    if owner is MEM_FORMAT_ENCODING:
        return MEM_FORMAT_ENCODING[name]
    raise CheckpointError(f"the file asks for attribute '{name}' of {owner}; only state_dicts of tensors are read")


# What torch.load may build for us beyond tensors: plain records, and two stand-ins.
READABLE: list[Callable | tuple[Callable, str]] = [
    (SavedShards, "torch.distributed._shard.sharded_tensor.api.ShardedTensor"),
    (_member, "builtins.getattr"),
    *(SavedGroup, Shard, ShardMetadata, ShardedTensorMetadata, TensorProperties, MEM_FORMAT_ENCODING),
    *(ChunkShardingSpec, EnumerableShardingSpec, _remote_device),
]


def whole(name: str, value: Any) -> Tensor:
    """The tensor itself, or the whole of a sharded one. CheckpointError if this file holds only a part of it."""
    if isinstance(value, SavedShards):
        return _join(name, value.shards, tuple(value.metadata.size))
    if isinstance(value, DTensor):
        if value.device_mesh.size() > 1 and not all(isinstance(one, Replicate) for one in value.placements):
            raise CheckpointError(_partial(name, f"a DTensor over {value.device_mesh.size()} ranks"))
        return value.to_local()
    return value


def _join(name: str, shards: list[Shard], shape: tuple[int, ...]) -> Tensor:
    held = sum(math.prod(shard.metadata.shard_sizes) for shard in shards)
    if held != math.prod(shape):  # shards do not overlap: they are a partition of the whole
        raise CheckpointError(_partial(name, f"{held:,} of the {math.prod(shape):,} elements of a sharded tensor"))
    if len(shards) == 1:
        return shards[0].tensor.detach()
    joined = torch.empty(shape, dtype=shards[0].tensor.dtype)
    for shard in shards:
        spans = zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes, strict=True)
        joined[tuple(slice(offset, offset + size) for offset, size in spans)] = shard.tensor.detach()
    return joined


def _partial(name: str, what: str) -> str:
    return (
        f"'{name}' is {what}: the file is that of one rank. Save all ranks with torch.distributed.checkpoint.save and "
        "give that folder, or gather the state_dict on one rank before torch.save"
    )
