"""Artifacts written from a manifest by hand: what the runtime takes, whether or not the compiler makes it today."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import xxhash
from torch import Tensor, nn
from torch.export.pt2_archive._package import _package_aoti_files

from recpile.pycompiler.artifact import layout, requirements
from recpile.pycompiler.artifact.writer import _Writer
from recpile.pycompiler.lower import LoweredStage, lower
from recpile.pycompiler.packing import pack
from recpile.pycompiler.program import Stage

ID = "int64"


@dataclass(frozen=True)
class Rows:
    """A table: its packed rows, uint8 [rows, row_bytes], their type and their dim."""

    packed: Tensor
    dtype: str
    dim: int

    @staticmethod
    def of(table: Tensor, dtype: str = "fp32") -> Rows:
        return Rows(pack(table, dtype), dtype, table.shape[1])


def code(stage: str, module: nn.Module, inputs: tuple[Tensor, ...], dynamic: tuple[dict, ...]) -> LoweredStage:
    """What a compiled stage runs. `inputs` and `dynamic` (which of their dimensions vary) are for torch.export."""
    graph = torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic)
    return lower(Stage(stage, "compiled", graph, (), ()))


def dense(name: str, shape: Sequence[int | str], dtype: str = "fp32") -> dict:
    return {"name": name, "kind": "dense", "tensors": [{"name": name, "dtype": dtype, "shape": list(shape)}]}


def keyed(name: str, keys: Sequence[str], axis: str = "candidate", dtype: str = ID, weighted: bool = False) -> dict:
    tensors = [
        {"name": f"{name}.values", "dtype": dtype, "shape": [f"{name}.nnz"]},
        {"name": f"{name}.lengths", "dtype": dtype, "shape": [len(keys), axis]},
        {"name": f"{name}.weights", "dtype": "fp32", "shape": [f"{name}.nnz"]},
    ]
    return {"name": name, "kind": "keyed_jagged", "keys": list(keys), "tensors": tensors[: 3 if weighted else 2]}


def lookup(name: str, pooling: str, sources: Sequence[dict], features: Sequence[tuple]) -> dict:
    """features: (source, row, table) of a jagged source, (source, row, size, table) of a fixed one."""
    fields = {3: ("source", "row", "table"), 4: ("source", "row", "size", "table")}
    return {
        "name": name,
        "kind": "embedding",
        "inputs": [source[key] for source in sources for key in ("values", "lengths", "weights") if key in source],
        "outputs": [{"name": f"{name}/out", "dtype": "fp32", "shape": ["candidate", "?"]}],
        "pooling": pooling,
        "sources": list(sources),
        "features": [dict(zip(fields[len(feature)], feature, strict=True)) for feature in features],
    }


def compiled(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> dict:
    made = [{"name": f"{name}/{output}", "dtype": "fp32", "shape": ["candidate"]} for output in outputs]
    return {"name": name, "kind": "compiled", "inputs": list(inputs), "outputs": made, "precision": "fp32"}


def output(name: str, value: str, shape: Sequence[int | str]) -> dict:
    return {"name": name, "value": value, "dtype": "fp32", "shape": list(shape)}


def write(
    path: Path,
    inputs: Sequence[dict],
    stages: Sequence[dict],
    outputs: Sequence[dict],
    tables: Mapping[str, Rows],
    code: Sequence[LoweredStage] = (),
) -> Path:
    """`code`: what the compiled stages run."""
    with _Writer(str(path)) as writer:
        _package_aoti_files(writer, {stage.name: list(stage.files) for stage in code})
        for index, rows in enumerate(tables.values()):
            writer.write_tensor(f"{layout.TABLES}{index}", rows.packed)
        manifest = {
            "format": "recpile",
            "format_version": layout.FORMAT_VERSION,
            "requires": requirements.of_this_machine(bool(code)),
            "model": {"name": path.stem, "version": "1"},
            "inputs": list(inputs),
            "outputs": list(outputs),
            "tables": [
                {
                    "name": name,
                    "rows": rows.packed.shape[0],
                    "dim": rows.dim,
                    "dtype": rows.dtype,
                    "row_bytes": rows.packed.shape[1],
                    "file": f"{layout.TABLES}{index}",
                }
                for index, (name, rows) in enumerate(tables.items())
            ],
            "stages": list(stages),
            "files": writer.files,
        }
        text = json.dumps(manifest).encode()
        writer.write_bytes(layout.MANIFEST, text)
        writer.write_bytes(layout.MANIFEST_SUM, xxhash.xxh3_128_hexdigest(text).encode())
    return path
