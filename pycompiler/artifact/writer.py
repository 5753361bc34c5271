"""Writes an artifact: a PT2 archive whose entries are stored uncompressed and aligned to 64 bytes.

The file appears under its name only when it is whole: it is written beside it and then moved.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
import xxhash
from torch import Tensor

# Private in name; package_pt2 itself is these calls, but it cannot hold our tables (its extra files must be text).
from torch.export.pt2_archive._package import PT2ArchiveWriter, _package_aoti_files, _package_exported_programs

from recpile.pycompiler.artifact import layout
from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.inspection.stage_graph import describe_stages
from recpile.pycompiler.lower import LoweredStage
from recpile.pycompiler.program import Program

T = TypeVar("T")


def write_artifact(
    path: str | Path,
    program: Program,
    lowered: Sequence[LoweredStage],
    model_version: str,
    quality: dict,
    check: Callable[[Path], T],
) -> T:
    """Writes `program` with its lowered stages to `path`; an existing file is replaced.

    `check` sees the whole artifact before it gets its name. What it returns is returned; if it raises,
    nothing is written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        part = scratch / path.name
        with _Writer(str(part)) as writer:
            compiled = [stage for stage in program.stages if stage.kind == "compiled"]
            _package_exported_programs(writer, {stage.name: stage.graph for stage in compiled})
            _package_aoti_files(writer, {stage.name: list(stage.files) for stage in lowered})
            weights = {**program.graph.state_dict, **program.graph.constants}
            for index, fqn in enumerate(program.tables):
                writer.write_tensor(f"{layout.TABLES}{index}", weights[fqn])
            described = describe_stages(program)
            for stage, one in described.items():
                writer.write_bytes(f"{layout.GRAPHS}{stage}.json", json.dumps(one["graph"]).encode())
            costs = {stage: one["cost"] for stage, one in described.items() if "cost" in one}
            manifest = json.dumps(
                build_manifest(program, model_version, writer.files, quality, costs), indent=1
            ).encode()
            writer.write_bytes(layout.MANIFEST, manifest)
            writer.write_bytes(layout.MANIFEST_SUM, xxhash.xxh3_128_hexdigest(manifest).encode())
        checked = check(part)
        os.replace(part, path)
        return checked
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Writer(PT2ArchiveWriter):
    """Notes size and checksum of every entry on its way into the archive."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.files: dict[str, dict] = {}

    def __enter__(self) -> _Writer:
        return self

    def write_bytes(self, name: str, data: bytes) -> None:
        super().write_bytes(name, data)
        self.files[name] = {"bytes": len(data), "xxh3": xxhash.xxh3_128_hexdigest(data)}

    def write_tensor(self, name: str, tensor: Tensor) -> None:
        """The tensor's bytes, copied only if they are a part of a larger storage."""
        tensor = tensor.detach().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes:
            storage = tensor.clone().untyped_storage()
        # pyrefly: ignore [bad-argument-type]  # the stub names the typed storages only
        self.archive_file.write_record(name, storage, tensor.nbytes)
        data = tensor.view(-1).view(torch.uint8).numpy().data
        self.files[name] = {"bytes": tensor.nbytes, "xxh3": xxhash.xxh3_128_hexdigest(data)}
