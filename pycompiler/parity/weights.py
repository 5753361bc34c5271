"""Compares what an artifact holds of the model's weights with what the checkpoint gives: is the artifact stale?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram

from recpile.passes.graph import editable
from recpile.passes.quantize_tables import table_error
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.packing import unpack
from recpile.pycompiler.program import Program, Table
from recpile.pycompiler.source_lines import named

# Weights are copied, or computed from others (a batch norm folded) by another machine's kernels.
_RELATIVE = 1e-6
# A table's error is a mean over its elements, whose sum depends on the order of the machine.
_ERROR_RELATIVE = 1e-3


@dataclass(frozen=True)
class OtherWeight:
    """A weight that is not the checkpoint's. `name` as the checkpoint has it, if it is one of its own. `where`: the
    stage and the operator that reads it, or the table."""

    name: str
    where: str
    largest: float
    mean: float
    artifact: float
    checkpoint: float
    differing: int
    of: int

    def __str__(self) -> str:
        return (
            f"{self.name} differs by up to {self.largest:.3g} (artifact {self.artifact:.6g}, checkpoint "
            f"{self.checkpoint:.6g}) in {self.differing:,} of {self.of:,} values; {self.where}"
        )


def compare_weights(exported: DebugRuntime, programs: Sequence[Program]) -> list[OtherWeight]:
    """Every table and weight of the artifact that is not the one which the checkpoint gives. `programs`: the rebuilt
    program as captured and after each pass."""
    packed = next((i for i, one in enumerate(programs) if any(table.packed for table in one.tables.values())), None)
    others = list(_other_tables(exported.artifact, programs[packed - 1], programs[packed])) if packed else []
    held = {stage["name"] for stage in exported.manifest["stages"]}
    for stage in programs[-1].stages:
        if stage.kind == "compiled" and stage.name in held:
            others += _other_weights(stage.name, stage.graph, exported.exported(stage.name))
    return others


def _other_tables(artifact: Artifact, before: Program, after: Program) -> Iterator[OtherWeight]:
    """Tables whose rows are not the checkpoint's. `before` and `after`: the rebuilt program around QuantizeTables.

    Rows packed otherwise (with another scale) are accepted if they are as far from the checkpoint as the manifest says.
    """
    unpacked = {**before.graph.state_dict, **before.graph.constants}
    fp32 = {table.name: unpacked[fqn].detach() for fqn, table in before.tables.items()}
    packed_by = {**after.graph.state_dict, **after.graph.constants}
    held = {entry["name"]: entry for entry in artifact.manifest["tables"]}
    for fqn, table in after.tables.items():
        stored, packed = artifact.table(table.name), packed_by[fqn]
        if stored.shape == packed.shape and torch.equal(stored, packed):
            continue
        if table.given is None and _as_stated(fp32[table.name], stored, table, held[table.name]["error"]):
            continue
        what = f"table '{table.name}' ({table.dtype})"
        got = unpack(stored, table.dtype, table.dim)
        wanted = unpack(packed, table.dtype, table.dim)
        yield from _other(what, "looked up in its embedding stage", wanted, got, exactly=True)


def _other_weights(stage: str, wanted: ExportedProgram, got: ExportedProgram) -> Iterator[OtherWeight]:
    """Weights of a compiled stage's program that are not those of the rebuilt one, by name. Names that only one of them
    has are not compared here: such programs differ in their operators."""
    held = _weights(got)
    for name, value in _weights(wanted).items():
        if name in held and held[name].shape == value.shape and held[name].dtype == value.dtype:
            where = f"read in stage {stage} by {_reader(got, name)}"
            yield from _other(f"weight '{_own_name(name)}'", where, value, held[name])


def _as_stated(fp32: Tensor, stored: Tensor, table: Table, stated: Mapping[str, float]) -> bool:
    if table.dtype == "fp32":
        return False
    error = table_error(fp32, stored, table.dtype, table.dim)
    near = abs(error.mean - stated["mean"]) <= _ERROR_RELATIVE * stated["mean"]
    return near and error.max <= stated["max"] * (1 + _ERROR_RELATIVE)


def _other(name: str, where: str, wanted: Tensor, got: Tensor, exactly: bool = False) -> Iterator[OtherWeight]:
    a, b = wanted.detach().double().reshape(-1), got.detach().double().reshape(-1)
    apart = (a - b).abs()
    differs = ~(apart <= (0 if exactly else _RELATIVE * max(1.0, float(a.abs().max()) if a.numel() else 0.0)))
    if bool(differs.any()):
        at = int(torch.where(differs, torch.nan_to_num(apart, nan=torch.inf), -1).argmax())
        yield OtherWeight(
            name,
            where,
            float(apart[at]),
            float(apart.mean()),
            float(b[at]),
            float(a[at]),
            int(differs.sum()),
            a.numel(),
        )


def _weights(program: ExportedProgram) -> dict[str, Tensor]:
    held = {**program.state_dict, **program.constants}
    return {name: value for name, value in held.items() if isinstance(value, Tensor)}


def _reader(program: ExportedProgram, name: str) -> str:
    for node in editable(program).graph.nodes:
        if node.op == "get_attr" and node.target == name and node.users:
            return named(next(iter(node.users)))
    return "no operator"


def _own_name(name: str) -> str:
    """As the checkpoint has it: without what capture and casting put around it."""
    return name.removeprefix("model.").removesuffix("_bf16").removesuffix("_fp16")
