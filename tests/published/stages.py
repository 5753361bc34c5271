"""What the tests of published classes ask of each: a file a package, so that they can run side by side."""

from __future__ import annotations

from collections.abc import Callable

from compiler.graphs import draw
from published.models import MODELS, REFUSED, build, class_of
from torch import Tensor, nn

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.quality import eager, run_stages

Record = Callable[[str, object], None]


def taken(package: str) -> list[str]:
    """Those of a package that the compiler does not refuse."""
    return [name for name in MODELS if name.startswith(f"{package}.") and name not in REFUSED]


def check_stages(name: str, record_property: Record) -> None:
    """The stages answer as eager does, at several batch sizes."""
    model, schema = build(name)
    program = run_passes(capture(model, schema, "model"), passes(TablePrecision("fp32"), "fp32"))
    assert any(stage.kind == "embedding" for stage in program.stages)
    largest = 0.0
    for batch in (1, 2, 3, 17):
        case = _answered(model, schema, batch)
        if case is None:
            continue
        flat, wanted = case
        worst, allowed = difference_of(wanted, run_stages(program, flat))
        assert worst <= allowed
        largest = max(largest, worst)
    record_property("published", (name, class_of(model), largest))


def _answered(model: nn.Module, schema, batch: int) -> tuple[dict[str, Tensor], tuple[Tensor, ...]] | None:
    """Inputs and eager's answer; None if eager itself cannot score one candidate (a bare squeeze drops its batch)."""
    flat = draw(schema, batch, seed=batch)
    try:
        return flat, eager(model, schema, flat)
    except (RuntimeError, IndexError):
        assert batch == 1
        return None
