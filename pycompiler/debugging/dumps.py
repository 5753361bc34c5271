"""What operators gave, on disk: one file each, and an index. Two such folders, or a folder and a run, compare."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from recpile.pycompiler.debugging.operators import OperatorCall

FORMATS = ("npz", "pt")
_INDEX = "index.json"


class DumpWriter:
    """Hook that writes what each operator gives to `folder`, which appears when the `with` block ends without an error.

    "npz" opens anywhere, and holds bf16 as fp32; "pt" holds tensors as they are.
    """

    def __init__(self, folder: Path, file_format: str = "npz") -> None:
        if file_format not in FORMATS:
            raise ValueError(f"dump format: got '{file_format}'; use one of {', '.join(FORMATS)}")
        if folder.exists():
            raise ValueError(f"{folder} exists; give a folder that does not, so that two runs are not mixed")
        self.folder, self.file_format = folder, file_format
        self.index: list[dict] = []

    def __enter__(self) -> DumpWriter:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._part = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        return self

    def __call__(self, call: OperatorCall) -> None:
        file = Path(call.stage) / f"{len(self.index):04}-{call.name}.{self.file_format}"
        path = self._part / file
        path.parent.mkdir(exist_ok=True)
        if self.file_format == "pt":
            torch.save([one.clone() for one in call.outputs], path)
        else:
            with path.open("wb") as opened:
                np.savez(opened, allow_pickle=False, **{str(i): _numpy(one) for i, one in enumerate(call.outputs)})
        self.index.append({"path": call.path, "operator": call.operator, "source": call.source, "file": str(file)})

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            (self._part / _INDEX).write_text(json.dumps(self.index, indent=1), encoding="utf-8")
            self._part.rename(self.folder)
        else:
            shutil.rmtree(self._part, ignore_errors=True)


@dataclass(frozen=True)
class Difference:
    """How far one operator of this run is from the dumped one: largest absolute difference, NaN where that is."""

    call: OperatorCall
    largest: float
    wanted: tuple[Tensor, ...]


class DumpComparer:
    """Hook that compares what each operator gives with what it gave in the run that was dumped to `folder`."""

    def __init__(self, folder: Path) -> None:
        if not (folder / _INDEX).is_file():
            raise ValueError(f"{folder} has no {_INDEX}: give a folder that --dump wrote")
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        self._files: Mapping[str, Path] = {entry["path"]: folder / entry["file"] for entry in index}
        self.differences: list[Difference] = []
        self.unknown: list[OperatorCall] = []  # of which the dump has nothing

    def __call__(self, call: OperatorCall) -> None:
        if call.path not in self._files:
            self.unknown.append(call)
            return
        wanted = _load(self._files[call.path])
        fits = [tuple(one.shape) for one in wanted] == [tuple(one.shape) for one in call.outputs]
        apart = [(a.double() - b.double()).abs() for a, b in zip(wanted, call.outputs, strict=True)] if fits else []
        largest = max((float(one.max()) for one in apart if one.numel()), default=0.0) if fits else float("inf")
        if any(bool(one.isnan().any()) for one in apart):
            largest = float("nan")
        self.differences.append(Difference(call, largest, wanted))


def _load(path: Path) -> tuple[Tensor, ...]:
    if path.suffix == ".pt":
        return tuple(torch.load(path))
    with np.load(path) as arrays:
        return tuple(torch.from_numpy(arrays[name]) for name in arrays.files)


def _numpy(one: Tensor) -> np.ndarray:
    return (one.float() if one.dtype == torch.bfloat16 else one).contiguous().numpy()
