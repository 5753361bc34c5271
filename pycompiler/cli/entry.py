"""Finds the user's model: an entry point "package.module:function" whose call gives (model, input schema)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from recpile.pycompiler.checkpoint import load_checkpoint, read_checkpoint
from recpile.pycompiler.schema import InputSchema

ENTRY_HELP = "Python entry point MODULE[:FUNCTION] that returns (model, InputSchema); FUNCTION is 'build' if not given"


def load_model(entry: str, checkpoint: str | None) -> tuple[nn.Module, InputSchema]:
    """Builds the model, loads the checkpoint, and puts it in eval mode. ValueError says what is wrong."""
    model, schema = build(entry)
    if checkpoint is not None:
        load_checkpoint(model, read_checkpoint(checkpoint))
    return model.eval(), schema


def build(entry: str) -> tuple[nn.Module, InputSchema]:
    built = _function(entry)()
    if not (
        isinstance(built, tuple)
        and len(built) == 2
        and isinstance(built[0], nn.Module)
        and isinstance(built[1], InputSchema)
    ):
        raise ValueError(f"entry point '{entry}' returned {_described(built)}; return (nn.Module, recpile InputSchema)")
    return built


def _function(entry: str) -> Callable[[], object]:
    module_name, _, function_name = entry.partition(":")
    function_name = function_name or "build"
    # As `python -m` does: a model that lies in the current folder is found.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ValueError(
            f"entry point '{entry}': no module '{error.name}'; give MODULE:FUNCTION importable from here ({Path.cwd()})"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"entry point '{entry}': module '{module_name}' has no function '{function_name}'")
    return function


def _described(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(type(one).__name__ for one in value)}"
    return type(value).__name__
