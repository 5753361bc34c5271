"""Parity: the same inputs through each form of a model, from eager PyTorch to the C++ engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, as_tensor, nn

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.quality import FP32_TOLERANCE, Parity, compare, eager
from recpile.pycompiler.schema import InputSchema


@dataclass(frozen=True)
class Step:
    """One comparison: `name` against `against`, with the difference that is allowed (None: reported only)."""

    name: str
    against: str
    parity: Parity
    allowed: float | None

    @property
    def ok(self) -> bool:
        # `not >` would let NaN pass.
        return self.allowed is None or self.parity.max <= self.allowed


def verify(
    artifact: Artifact,
    inputs: Mapping[str, Tensor],
    model: tuple[nn.Module, InputSchema] | None = None,
    tolerance: float | None = None,
    engine: bool = True,
) -> list[Step]:
    """Runs flat `inputs` through eager (if `model` is given), the exported stages, the debug runtime and the engine.

    An fp32 artifact must match eager to 1e-5; a quantized one only if `tolerance` says how far. The engine must match
    the debug runtime exactly: they run the same kernels on the same batch.
    """
    names = [output["name"] for output in artifact.manifest["outputs"]]
    steps: list[Step] = []
    debug = _in_order(DebugRuntime(artifact, "compiled").run(inputs), names)
    exported = _in_order(DebugRuntime(artifact, "exported").run(inputs), names)
    if model is not None:
        wanted = list(eager(model[0], model[1], inputs))
        steps.append(Step("exported stages", "eager", compare(wanted, exported), tolerance or _allowed(artifact)))
        steps.append(Step("debug runtime", "eager", compare(wanted, debug), tolerance or _allowed(artifact)))
    else:
        steps.append(
            Step("debug runtime", "exported stages", compare(exported, debug), tolerance or _allowed(artifact))
        )
    if engine:
        answered = _through_engine(artifact, inputs, names)
        steps.append(Step("C++ engine", "debug runtime", compare(debug, answered), 0.0))
    return steps


def _allowed(artifact: Artifact) -> float | None:
    manifest = artifact.manifest
    exact = all(table["dtype"] == "fp32" for table in manifest["tables"])
    exact = exact and all(stage.get("precision", "fp32") == "fp32" for stage in manifest["stages"])
    return FP32_TOLERANCE if exact else None


def _through_engine(artifact: Artifact, inputs: Mapping[str, Tensor], names: list[str]) -> list[Tensor]:
    from recpile.runtime_cpp import Engine  # late: the debug runtime must work where the extension is not built

    loaded = Engine(str(artifact.path), instances=1)
    try:
        answer = loaded.infer({name: value.numpy() for name, value in inputs.items()})
    finally:
        loaded.stop()
    return _in_order({name: as_tensor(value) for name, value in answer.items()}, names)


def _in_order(outputs: Mapping[str, Tensor], names: list[str]) -> list[Tensor]:
    return [outputs[name] for name in names]
