"""The Python debug runtime: runs an artifact stage by stage, with the kernels that the C++ runtime runs.

It needs no C++ extension. It is for parity checks and for looking at what flows between stages, not for serving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Private in name; the public load_pt2 would load every stage's shared object as well.
from torch.export.pt2_archive._package import PT2ArchiveReader, _load_exported_programs

from recpile.pycompiler import int8_operators, operators  # noqa: F401  # what stages call
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.inputs import check_inputs
from recpile.pycompiler.packing import FBGEMM_TYPES

# Called after a stage with its name and its outputs by value name.
Hook = Callable[[str, Mapping[str, Tensor]], None]


class DebugRuntime:
    """Runs one artifact in this process, on the calling thread.

    `code` says what runs for a compiled stage: "compiled" (AOTInductor's shared object, as the C++ runtime) or
    "exported" (the stage's exported program through PyTorch's own operators: any machine will do).
    """

    def __init__(self, artifact: Artifact | str | Path, code: str = "compiled") -> None:
        if code not in ("compiled", "exported"):
            raise ValueError(f"code: got '{code}'; use 'compiled' or 'exported'")
        opened = artifact if isinstance(artifact, Artifact) else Artifact(artifact, for_this_machine=code == "compiled")
        self.artifact = opened
        self.manifest = opened.manifest
        self._tables = {table["name"]: opened.table(table["name"]) for table in self.manifest["tables"]}
        self._table_info = {table["name"]: table for table in self.manifest["tables"]}
        compiled = [stage["name"] for stage in self.manifest["stages"] if stage["kind"] == "compiled"]
        load = _load_compiled if code == "compiled" else _load_exported
        self._code = load(str(opened.path), compiled)

    def run(self, inputs: Mapping[str, Tensor | np.ndarray], hook: Hook | None = None) -> dict[str, Tensor]:
        """The model's outputs by name. InputError for inputs that the model cannot take."""
        values, _ = check_inputs(self.manifest, inputs)
        with torch.no_grad():
            for stage in self.manifest["stages"]:
                given = self._embedding(stage, values) if stage["kind"] == "embedding" else self._dense(stage, values)
                named = {spec["name"]: value for spec, value in zip(stage["outputs"], given, strict=True)}
                values.update(named)
                if hook is not None:
                    hook(stage["name"], named)
        return {output["name"]: values[output["value"]] for output in self.manifest["outputs"]}

    def _dense(self, stage: dict, values: Mapping[str, Tensor]) -> list[Tensor]:
        return self._code[stage["name"]]([values[name] for name in stage["inputs"]])

    def _embedding(self, stage: dict, values: Mapping[str, Tensor]) -> list[Tensor]:
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
        )
        return [pooled]


Runner = Callable[[list[Tensor]], list[Tensor]]


def _load_compiled(path: str, names: list[str]) -> dict[str, Runner]:
    # One runner, one thread: what this runtime computes must not depend on what else runs.
    return {name: torch._C._aoti.AOTIModelPackageLoader(path, name, False, 1, -1).boxed_run for name in names}  # type: ignore[attr-defined]


def _load_exported(path: str, names: list[str]) -> dict[str, Runner]:
    with PT2ArchiveReader(path) as reader:
        programs = _load_exported_programs(reader, reader.get_file_names(), None)

    def runner(name: str) -> Runner:
        module = programs[name].module()
        return lambda inputs: list(module(*inputs))

    return {name: runner(name) for name in names}
