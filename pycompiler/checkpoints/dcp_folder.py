"""Reads a folder of torch.distributed.checkpoint, saved by any number of ranks, in one process without a process group.

Shards of a sharded table are put together as they are read, one after the other, into the model's own memory.
"""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata

from recpile.pycompiler.checkpoints.containers import find_state
from recpile.pycompiler.checkpoints.errors import CheckpointError, first_line
from recpile.pycompiler.checkpoints.weights import WeightSpec

METADATA = ".metadata"
_PLAIN = {
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): filesystem._StorageInfo,
    ("torch.distributed.checkpoint.filesystem", "_StoragePrefix"): filesystem._StoragePrefix,
    **{("pathlib", name): pathlib.PurePosixPath for name in ("PosixPath", "PurePosixPath", "WindowsPath")},
}


class DcpWeights:
    """The tensors of a DCP folder. What is not a tensor (steps, optimizer groups) is never unpickled."""

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path = path
        self._reader = _Reader(path)
        held = self._reader.read_metadata()
        tensors = {
            name: WeightSpec(tuple(one.size), one.properties.dtype)
            for name, one in held.state_dict_metadata.items()
            if isinstance(one, metadata.TensorStorageMetadata)
        }
        paths = {name: (held.planner_data or {}).get(name, (name,)) for name in held.state_dict_metadata}
        state, self.notes = find_state(_nested(paths, set(tensors)), lambda v: isinstance(v, _Leaf), str(path), key)
        self._saved_as = {name: leaf.name for name, leaf in state.items()}
        self.specs: Mapping[str, WeightSpec] = {name: tensors[saved] for name, saved in self._saved_as.items()}

    def read(self, into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        saved: dict[str, Any] = {self._saved_as[name]: tensor for name, tensor in into.items()}
        try:
            dcp.load(saved, storage_reader=self._reader, no_dist=True)
        except (Exception, dcp.api.CheckpointException) as error:
            raise CheckpointError(
                f"{self.path} cannot be read: {first_line(error)}; copy the whole folder, every .distcp file and "
                f"{METADATA}"
            ) from error
        return dict(into)


class _Leaf:
    def __init__(self, name: str) -> None:
        self.name = name


def _nested(paths: Mapping[str, tuple], tensors: set[str]) -> dict[str, Any]:
    """The dict that was saved, with a leaf for each tensor: DCP flattens it, and remembers where things were."""
    root: dict[str, Any] = {}
    for name, path in paths.items():
        *parents, last = (str(part) for part in path)
        at = root
        for part in parents:
            at = at.setdefault(part, {})
        at[last] = _Leaf(name) if name in tensors else None
    return root


class _Reader(dcp.FileSystemReader):
    """Reads the metadata once, and builds nothing from it but DCP's own records."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = path / METADATA
        self._held: metadata.Metadata | None = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        if self._held is None:
            try:
                with self._file.open("rb") as file:
                    held = _MetadataUnpickler(file).load()
                if not isinstance(held, metadata.Metadata):
                    raise pickle.UnpicklingError(f"it holds {type(held).__name__}")
            except CheckpointError:
                raise
            except Exception as error:  # unpickling garbage raises nearly anything
                raise CheckpointError(
                    f"{self._file} is not the metadata of a torch.distributed.checkpoint folder: {first_line(error)}"
                ) from error
            if held.storage_meta is None:
                held.storage_meta = metadata.StorageMeta()
            held.storage_meta.load_id = self.load_id
            self._held = held
        return self._held


class _MetadataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        owner = {"torch": torch, "torch.distributed.checkpoint.metadata": metadata}.get(module)
        found = getattr(owner, name, None)
        record = isinstance(found, type) and found.__module__ == metadata.__name__
        if isinstance(found, torch.dtype) or record:
            return found
        raise CheckpointError(
            f"the {METADATA} file asks for {module}.{name}, which is no part of a checkpoint, so it was not loaded"
        )
