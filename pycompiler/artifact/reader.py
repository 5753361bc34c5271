"""Reads an artifact in Python with the checks that the C++ loader makes, and maps its tables."""

from __future__ import annotations

import json
import mmap
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor

from recpile.pycompiler.artifact import layout, requirements
from recpile.pycompiler.artifact.layout import ArtifactError
from recpile.pycompiler.packing import TABLE_DTYPES


class Artifact:
    """An open artifact: its manifest, and its tables as tensors over the mapped file.

    `for_this_machine=False` skips the machine checks, to look into an artifact that was made for another one.
    """

    def __init__(self, path: str | Path, verify_checksums: bool = True, for_this_machine: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ArtifactError(f"no artifact at {self.path}")
        with self.path.open("rb") as file:
            if self.path.stat().st_size == 0:
                raise ArtifactError(f"{self.path} is empty")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._entries = self._list_entries()
        manifest = self._manifest_bytes()
        self.manifest = json.loads(manifest)
        self._check_version()
        if for_this_machine:
            requirements.check(self.manifest["requires"])
        self._check_files(verify_checksums)

    def table(self, name: str) -> Tensor:
        """A table's packed rows, uint8 [rows, row_bytes], over the mapped file: nothing is read until it is used."""
        table = next(table for table in self.manifest["tables"] if table["name"] == name)
        offset, size = self._entries[table["file"]]
        rows = np.frombuffer(self._map, dtype=np.uint8, count=size, offset=offset)
        return torch.from_numpy(rows).view(table["rows"], table["row_bytes"])

    def entry(self, name: str) -> bytes:
        offset, size = self._entries[name]
        return self._map[offset : offset + size]

    def stage_graphs(self) -> dict[str, dict]:
        """Stage -> its graph as inspection/stage_graph.py wrote it, without those that an older recpile left out."""
        names = {stage["name"]: f"{layout.GRAPHS}{stage['name']}.json" for stage in self.manifest["stages"]}
        return {stage: json.loads(self.entry(name)) for stage, name in names.items() if name in self._entries}

    def _list_entries(self) -> dict[str, tuple[int, int]]:
        """Entry -> (offset of its bytes, size), without the archive's root folder."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise ArtifactError(
                f"{self.path} is not a readable archive ({error}): truncated, or not an artifact"
            ) from error
        entries: dict[str, tuple[int, int]] = {}
        for info in infos:
            name = info.filename.partition("/")[2]
            if info.compress_type != zipfile.ZIP_STORED:
                raise ArtifactError(f"entry '{name}' is compressed; an artifact's entries are stored")
            # The local header's name and extra field may be longer than the directory's: it pads for alignment.
            lengths = self._map[info.header_offset + 26 : info.header_offset + 30]
            if len(lengths) < 4:
                raise ArtifactError(f"{self.path} is truncated at entry '{name}'")
            name_length, extra_length = struct.unpack("<HH", lengths)
            offset = info.header_offset + 30 + name_length + extra_length
            if offset + info.file_size > len(self._map):
                raise ArtifactError(f"{self.path} is truncated at entry '{name}'")
            entries[name] = (offset, info.file_size)
        return entries

    def _manifest_bytes(self) -> bytes:
        for name in (layout.MANIFEST, layout.MANIFEST_SUM):
            if name not in self._entries:
                raise ArtifactError(f"{self.path} has no '{name}': it is not a recpile artifact")
        manifest = self.entry(layout.MANIFEST)
        if xxhash.xxh3_128_hexdigest(manifest).encode() != self.entry(layout.MANIFEST_SUM):
            raise ArtifactError(f"the manifest of {self.path} does not match its checksum: the file was altered")
        return manifest

    def _check_version(self) -> None:
        got = (self.manifest.get("format"), self.manifest.get("format_version"))
        if got != ("recpile", layout.FORMAT_VERSION):
            raise ArtifactError(
                f"{self.path} has format {got[0]!r} version {got[1]!r}; this recpile reads 'recpile' version "
                f"{layout.FORMAT_VERSION}: export it again"
            )
        for table in self.manifest["tables"]:
            if table["dtype"] not in TABLE_DTYPES:
                raise ArtifactError(
                    f"table '{table['name']}' of {self.path} has unknown dtype '{table['dtype']}'; this recpile reads "
                    f"{', '.join(TABLE_DTYPES)}: export it again, or update recpile"
                )

    def _check_files(self, verify_checksums: bool) -> None:
        files = self.manifest["files"]
        known = {*files, layout.MANIFEST, layout.MANIFEST_SUM, *layout.WRITER_ENTRIES}
        strange = sorted(set(self._entries) - known)
        if strange:
            raise ArtifactError(f"{self.path} holds entries that its manifest does not list: {', '.join(strange)}")
        for name, wanted in files.items():
            if name not in self._entries:
                raise ArtifactError(f"{self.path} lacks entry '{name}'")
            offset, size = self._entries[name]
            if size != wanted["bytes"]:
                raise ArtifactError(f"entry '{name}' has {size} bytes; the manifest says {wanted['bytes']}")
            if (
                verify_checksums
                and xxhash.xxh3_128_hexdigest(memoryview(self._map)[offset : offset + size]) != wanted["xxh3"]
            ):
                raise ArtifactError(f"entry '{name}' does not match its checksum: the file was altered or damaged")
