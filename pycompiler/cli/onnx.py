"""`recpile export --onnx FILE`: the same model as ONNX, checked in the same command."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from torch import Tensor, nn

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.compile import Compiled
from recpile.pycompiler.quality import EvalData, take_rows
from recpile.pycompiler.random_inputs import random_inputs

_BATCHES = (1, 2, 17)
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_option(file: str) -> None:
    """ValueError for what would fail only after the export."""
    if Path(file).suffix != ".onnx":
        raise ValueError(f"--onnx: got '{file}'; use a file name that ends in .onnx")
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        raise ValueError(f"--onnx needs {', '.join(absent)}, not installed here; pip install 'recpile[onnx]'")


def run(console: Console, file: str, model: nn.Module, compiled: Compiled, data: EvalData | None) -> int:
    """Returns 0, or 1 if nothing of the model could be written."""
    # Late: the packages are optional, and take a second.
    from recpile.pycompiler.onnx.export import export_onnx
    from recpile.pycompiler.onnx.lookups import OPSET

    with console.status("write and check ONNX"):
        written = export_onnx(model, compiled.captured, file, _inputs(compiled, data))
    for problem in written.problems:
        console.print(f"not as ONNX: {problem}", soft_wrap=True)
    for one in written.files:
        size = sum(path.stat().st_size for path in (one.path, Path(f"{one.path}.data")) if path.is_file())
        console.print(
            f"{one.path}: {one.holds}, fp32, ONNX opset {OPSET}, {size:,} bytes; largest difference in onnxruntime "
            f"{one.difference:.3g}",
            soft_wrap=True,
        )
    return 0 if written.files else 1


def _inputs(compiled: Compiled, data: EvalData | None) -> list[dict[str, Tensor]]:
    """Rows of `data`, or else random inputs, with every bag empty too."""
    if data is not None:
        rows = [min(batch, len(data.labels)) for batch in _BATCHES]
        return [take_rows(compiled.captured.schema, data.inputs, 0, count) for count in rows]
    manifest = Artifact(compiled.path, verify_checksums=False).manifest
    return [random_inputs(manifest, batch, batch, longest, requests=3) for batch in _BATCHES for longest in (4, 0)]
