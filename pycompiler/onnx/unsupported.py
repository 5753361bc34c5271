"""Names what ONNX cannot express in a captured graph: each operator, with the model's source line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.export import ExportedProgram

# Private in name: torch's exporter stops at the first operator that it cannot translate, and users want all of them.
from torch.onnx._internal.exporter import _decomp, _dispatching, _fx_passes, _registration

from recpile.pycompiler.onnx.lookups import OPSET
from recpile.pycompiler.onnx.write import TRANSLATIONS
from recpile.pycompiler.source import source_of


@dataclass(frozen=True)
class Unsupported:
    """An operator without a translation. `where` is the model's source line, or "" where that is not known."""

    operator: str
    node: str
    where: str

    def __str__(self) -> str:
        return f"{self.operator} ('{self.node}')" + (f" at {self.where}" if self.where else "")


def unsupported(graph: ExportedProgram) -> list[Unsupported]:
    """The operators of `graph` that neither torch's exporter nor our translations can say in ONNX, in graph order."""
    registry, decompositions = _known()
    with torch.no_grad():
        # As torch's exporter does: checks of sizes have no place in ONNX.
        module = _fx_passes.remove_assertion_nodes(graph.run_decompositions(decompositions).graph_module)
    found = []
    for node in module.graph.nodes:
        if node.op == "call_function" and _dispatching.dispatch(node, registry)[0] is None:
            found.append(Unsupported(str(node.target), node.name, str(source_of(node) or "")))
    return found


@cache
def _known() -> tuple[_registration.ONNXRegistry, dict[Any, Any]]:
    registry = _registration.ONNXRegistry.from_torchlib(OPSET)
    for operator, translation in TRANSLATIONS.items():
        registry.register_op(operator, translation)
    known = set(_decomp.get_onnx_implemented_overloads(registry))
    return registry, _decomp.create_onnx_friendly_decomposition_table(known)
