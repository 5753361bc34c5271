"""The Python debug runtime: runs an artifact stage by stage, with the kernels that the C++ runtime runs.

It needs no C++ extension. It is for parity checks and for looking at what flows between stages, not for serving.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

# Private in name; the public load_pt2 would load every stage's shared object as well.
from torch.export.pt2_archive._package import PT2ArchiveReader, _load_exported_programs

from recpile.pycompiler import int8_operators, operators  # noqa: F401  # what stages call
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debugging.operators import GraphRunner, OperatorCall, OperatorHook
from recpile.pycompiler.inputs import check_inputs
from recpile.pycompiler.packing import FBGEMM_TYPES

# Called after a stage with its name and its outputs by value name.
Hook = Callable[[str, Mapping[str, Tensor]], None]


class DebugRuntime:
    """Runs one artifact in this process, on the calling thread.

    `code` says what runs for a compiled stage: "compiled" (AOTInductor's shared object, as the C++ runtime) or
    "exported" (the stage's exported program through PyTorch's own operators: any machine will do). `out_of_range` says
    what an id that its table does not have is: an "error", or a row of zeros ("zero"), which a mean counts too.
    """

    def __init__(
        self, artifact: Artifact | str | Path, code: str = "compiled", out_of_range: Literal["error", "zero"] = "error"
    ) -> None:
        if code not in ("compiled", "exported"):
            raise ValueError(f"code: got '{code}'; use 'compiled' or 'exported'")
        if out_of_range not in ("error", "zero"):
            raise ValueError(f"out_of_range: got '{out_of_range}'; use 'error' or 'zero'")
        self._zeros = out_of_range == "zero"
        opened = artifact if isinstance(artifact, Artifact) else Artifact(artifact, for_this_machine=code == "compiled")
        self.artifact = opened
        self.manifest = opened.manifest
        self._tables = {table["name"]: opened.table(table["name"]) for table in self.manifest["tables"]}
        self._table_info = {table["name"]: table for table in self.manifest["tables"]}
        compiled = [stage["name"] for stage in self.manifest["stages"] if stage["kind"] == "compiled"]
        self._programs = _load_exported(str(opened.path)) if code == "exported" else None
        self._code = (
            _code_of(self._programs, compiled) if self._programs else _load_compiled(str(opened.path), compiled)
        )
        self._by_operator: dict[str, GraphRunner] = {}

    def run(
        self,
        inputs: Mapping[str, Tensor | np.ndarray],
        hook: Hook | None = None,
        operators: OperatorHook | None = None,
    ) -> dict[str, Tensor]:
        """The model's outputs by name. InputError for inputs that the model cannot take.

        `hook` sees each stage, `operators` each operator as it has run: of exported stages only.
        """
        values, _ = check_inputs(self.manifest, inputs, check_ids=not self._zeros)
        for stage in self.manifest["stages"]:
            named = self.run_stage(stage, values, operators)
            values.update(named)
            if hook is not None:
                hook(stage["name"], named)
        return {output["name"]: values[output["value"]] for output in self.manifest["outputs"]}

    def run_stage(
        self, stage: dict, values: Mapping[str, Tensor], operators: OperatorHook | None = None
    ) -> dict[str, Tensor]:
        """What one stage of the manifest gives on `values`, which hold all that it reads, by value name."""
        if operators is not None and self._programs is None:
            raise ValueError("operators are seen one by one in exported stages only: use code='exported'")
        with torch.no_grad():
            if stage["kind"] == "embedding":
                given = self._embedding(stage, values, operators)
            else:
                given = self._dense(stage, values, operators)
        return {spec["name"]: value for spec, value in zip(stage["outputs"], given, strict=True)}

    def exported(self, stage: str) -> ExportedProgram:
        """A compiled stage's exported program, as the artifact holds it."""
        if self._programs is None:
            raise ValueError("this runtime loaded compiled stages: use code='exported'")
        return self._programs[stage]

    def _dense(self, stage: dict, values: Mapping[str, Tensor], hook: OperatorHook | None) -> list[Tensor]:
        name, given = stage["name"], [values[name] for name in stage["inputs"]]
        if hook is None:
            return self._code[name](given)
        if name not in self._by_operator:
            self._by_operator[name] = GraphRunner(self.exported(name), name)
        return self._by_operator[name].run(given, hook)

    def _embedding(self, stage: dict, values: Mapping[str, Tensor], hook: OperatorHook | None) -> list[Tensor]:
        started = time.perf_counter()
        sources, features = stage["sources"], stage["features"]
        names = list(dict.fromkeys(feature["table"] for feature in features))
        infos = [self._table_info[name] for name in names]
        pooled = operators.packed_embedding_bags(
            [self._tables[name] for name in names],
            [info["dim"] for info in infos],
            [FBGEMM_TYPES[info["dtype"]] for info in infos],
            [values[source["values"]] for source in sources],
            [values[source["lengths"]] if "lengths" in source else None for source in sources],
            [values[source["weights"]] for source in sources if "weights" in source],
            [feature["source"] for feature in features],
            [feature["row"] for feature in features],
            [names.index(feature["table"]) for feature in features],
            operators.POOLINGS.index(stage["pooling"]),
            [source.get("columns", 0) for source in sources],
            [feature.get("size", 0) for feature in features],
            self._zeros,
            stage["outputs"][0]["dtype"] == "bf16",
        )
        if hook is not None:
            seconds = time.perf_counter() - started
            read = {name: values[name] for name in stage["inputs"]}
            name, what = stage["outputs"][0]["name"].rpartition("/")[2], f"table-batched lookup ({stage['pooling']})"
            hook(OperatorCall(stage["name"], name, what, self._lookup_source(stage["name"]), read, (pooled,), seconds))
        return [pooled]

    def _lookup_source(self, stage: str) -> str:
        """The model's line, as the stage's graph in the artifact has it: a lookup has no exported program."""
        graph = self.artifact.stage_graphs().get(stage, {"nodes": [], "frames": []})
        nodes = [node for node in graph["nodes"] if node.get("source")]
        if not nodes:
            return ""
        frames = [graph["frames"][i] for i in nodes[-1]["source"]]
        frame = ([one for one in frames if not one["installed"]] or frames)[-1]
        return f"{frame['file']}:{frame['line']}: {frame['text']}"


Runner = Callable[[list[Tensor]], list[Tensor]]


def _load_compiled(path: str, names: list[str]) -> dict[str, Runner]:
    # One runner, one thread: what this runtime computes must not depend on what else runs.
    return {name: torch._C._aoti.AOTIModelPackageLoader(path, name, False, 1, -1).boxed_run for name in names}  # type: ignore[attr-defined]


def _load_exported(path: str) -> dict[str, ExportedProgram]:
    with PT2ArchiveReader(path) as reader:
        return _load_exported_programs(reader, reader.get_file_names(), None)


def _code_of(programs: Mapping[str, ExportedProgram], names: list[str]) -> dict[str, Runner]:
    def runner(name: str) -> Runner:
        module = programs[name].module()
        return lambda inputs: list(module(*inputs))

    return {name: runner(name) for name in names}
