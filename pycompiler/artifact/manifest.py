"""The manifest: what an artifact holds, as plain JSON. docs/artifact.md is its grammar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

from recpile.pycompiler.artifact import layout, requirements
from recpile.pycompiler.packing import row_bytes
from recpile.pycompiler.program import Lookup, Program, Stage
from recpile.pycompiler.schema import DTYPE_NAMES, Dense, Input, Jagged, KeyedJagged, TensorSpec


def build_manifest(
    program: Program,
    model_version: str,
    files: dict[str, dict],
    quality: dict,
    costs: Mapping[str, dict] = MappingProxyType({}),
) -> dict:
    """`files`: entry -> {"bytes", "xxh3"}. `quality`: what was measured of this artifact (compile.py).
    `costs`: compiled stage -> its cost (inspection/cost.py)."""
    tables = [
        {
            "name": table.name,
            "rows": table.rows,
            "dim": table.dim,
            "dtype": table.dtype,
            "row_bytes": row_bytes(table.dtype, table.dim),
            "file": f"{layout.TABLES}{index}",
            "error": asdict(table.error),
        }
        for index, table in enumerate(program.tables.values())
    ]
    specs = program.value_specs()
    return {
        "format": "recpile",
        "format_version": layout.FORMAT_VERSION,
        "producer": {"recpile": recpile_version()},
        "requires": requirements.of_this_machine(any(stage.kind == "compiled" for stage in program.stages)),
        "model": {"name": program.name, "version": model_version},
        "inputs": [input_entry(one) for one in program.schema.inputs],
        "outputs": [
            {"name": name, "value": value, **_spec(specs[value])}
            for name, value in zip(program.schema.outputs, program.outputs, strict=True)
        ],
        "tables": tables,
        "stages": [_stage(stage, costs) for stage in program.stages],
        "quality": quality,
        "passes": [asdict(note) for note in program.log],
        "files": files,
    }


def recpile_version() -> str:
    try:
        return version("recpile")
    except PackageNotFoundError:
        return "unknown"


def _spec(spec: TensorSpec) -> dict:
    return {"dtype": DTYPE_NAMES[spec.dtype], "shape": list(spec.shape)}


def input_entry(one: Input) -> dict:
    kind = {Dense: "dense", Jagged: "jagged", KeyedJagged: "keyed_jagged"}[type(one)]
    keys = {"keys": list(one.keys)} if isinstance(one, KeyedJagged) else {}
    tensors = [{"name": spec.name, **_spec(spec)} for spec in one.tensors()]
    return {"name": one.name, "kind": kind, **keys, "tensors": tensors}


def _stage(stage: Stage, costs: Mapping[str, dict]) -> dict:
    outputs = [{"name": spec.name, **_spec(spec)} for spec in stage.outputs]
    head = {
        "name": stage.name,
        "kind": stage.kind,
        "inputs": list(stage.inputs),
        "outputs": outputs,
        "placement": asdict(stage.placement),
    }
    if stage.lookup:
        return {**head, **_lookup(stage.lookup)}
    cost = {"cost": costs[stage.name]} if stage.name in costs else {}
    return {**head, "precision": stage.precision, "layers": [asdict(layer) for layer in stage.layers], **cost}


def _lookup(lookup: Lookup) -> dict:
    # What a source or a feature does not have is left out: weights, lengths, and of jagged ones columns and size.
    return {
        "pooling": lookup.pooling,
        "sources": [{k: v for k, v in asdict(source).items() if v} for source in lookup.sources],
        "features": [{k: v for k, v in asdict(feature).items() if k != "size" or v} for feature in lookup.features],
    }
