"""Lowers compiled stages through AOTInductor: one shared object a stage."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule, Node

from recpile.passes.graph import editable
from recpile.pycompiler.executable_stack import forbid_executable_stack
from recpile.pycompiler.graph_parts import first_uncompiled
from recpile.pycompiler.program import Stage
from recpile.pycompiler.source_lines import named


class LowerError(RuntimeError):
    """A stage that AOTInductor could not compile."""


@dataclass(frozen=True)
class LoweredStage:
    """What AOTInductor made of a stage: files on this machine, to be packed under data/aotinductor/<name>."""

    name: str
    files: tuple[Any, ...]  # paths, and torch's Weights


def lower(stage: Stage, part: GraphModule | None = None) -> LoweredStage:
    """Compiles for this machine's CPU. Needs a C++ compiler. The result is valid for the torch that made it.

    `part`: what to compile in place of the stage's whole graph, with the same inputs.
    """
    assert stage.kind == "compiled", stage.kind
    assert stage.graph.example_inputs is not None
    inputs, _ = stage.graph.example_inputs
    options = {
        "aot_inductor.package": True,
        # One thread a batch: the runtime runs batches side by side, and a thread count baked in would oversubscribe.
        "cpp.threads": 1,
        # Packs weights for AMX. fp32 ones stay as they are: docs/decisions/0004-fp32-layers-are-not-frozen.md.
        "freezing": stage.precision != "fp32",
    }
    said = io.StringIO()
    try:
        files = _compiled(part or editable(stage.graph), inputs, options, said)
    except Exception as error:
        detail = str(error).strip() or type(error).__name__
        blame = blamed(stage, detail)
        # Of a machine that has no room no operator is to blame.
        if not blame and part is None and not isinstance(error, (OSError, MemoryError)):
            blame = _blamed_by_parts(stage, lambda module: _compiles(module, inputs, options))
        what = f"AOTInductor could not compile stage '{stage.name}'{blame}"
        raise LowerError(f"{what}: {detail}\n{said.getvalue()}".rstrip()) from error
    assert isinstance(files, list)
    for file in files:
        if isinstance(file, str) and file.endswith(".so"):
            forbid_executable_stack(Path(file))
    return LoweredStage(stage.name, tuple(files))


def _compiled(module: GraphModule, inputs: tuple, options: dict[str, Any], said: io.StringIO) -> Any:
    with torch.no_grad(), warnings.catch_warnings(), _quiet("torch._inductor"), redirect_stderr(said):
        warnings.simplefilter("ignore")
        return torch._inductor.aot_compile(module, inputs, options=options)


def _compiles(module: GraphModule, inputs: tuple, options: dict[str, Any]) -> bool:
    try:
        _compiled(module, inputs, options, io.StringIO())
    except Exception:  # as many kinds as a compiler has
        return False
    return True


def blamed(stage: Stage, detail: str) -> str:
    """The operators that AOTInductor's message speaks of, with their lines, and the way out; "" if it names none."""
    if "InvalidCxxCompiler" in detail or "No working C++ compiler" in detail:
        return " (it needs a C++ compiler: install g++, or set CXX)"
    words = {word.replace("::", ".") for word in re.findall(r"[a-z_]\w*(?:\.|::)\w+\.\w+|(?<=target: )\w+", detail)}
    nodes = [node for node in stage.graph.graph.nodes if str(node.target) in words]
    return _told(nodes[:3]) if nodes else ""


def _blamed_by_parts(stage: Stage, compiles: Callable[[GraphModule], bool]) -> str:
    """Where the message names no operator: the first up to which the stage does not compile. Compiles parts of it."""
    node = first_uncompiled(editable(stage.graph), compiles)
    return _told([node]) if node is not None else ""


def _told(nodes: Sequence[Node]) -> str:
    return f" (at {'; '.join(named(node) for node in nodes)}; write it with other operators in the model)"


class _quiet:
    """Raises a logger's level for a while."""

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self.logger.setLevel(self.level)
