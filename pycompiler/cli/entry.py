"""Finds the user's model: an entry point "package.module:function" whose call gives the model and its input schema."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from recpile.pycompiler.checkpoints.load import load_checkpoint, without_unused
from recpile.pycompiler.checkpoints.mapping import CheckpointMapping
from recpile.pycompiler.checkpoints.match import Match, match
from recpile.pycompiler.checkpoints.read import read_checkpoint
from recpile.pycompiler.checkpoints.weights import Weights
from recpile.pycompiler.cli.model_options import ModelOptions
from recpile.pycompiler.infer.schema import infer_schema
from recpile.pycompiler.outputs import drop_outputs
from recpile.pycompiler.schema import InputSchema
from recpile.pycompiler.schema_file import read_schema
from recpile.pycompiler.swap import CaptureError
from recpile.pycompiler.unused_weights import unused_weights

ENTRY_HELP = (
    "Python entry point MODULE[:FUNCTION] that returns (model, InputSchema), (model, example inputs), or with --schema "
    "the model alone; FUNCTION is 'build' if not given"
)
Tell = Callable[[str], None]


def load_model(
    entry: str, checkpoint: str | None, options: ModelOptions = ModelOptions(), tell: Tell = lambda message: None
) -> tuple[nn.Module, InputSchema]:
    """Builds the model, loads the checkpoint, and puts it in eval mode. ValueError says what is wrong; `tell` hears
    what was inferred or decided."""
    model, schema = build(entry, options, tell)
    if checkpoint is not None:
        weights = open_checkpoint(checkpoint, options, tell)
        found = load_checkpoint(model, weights, _mapping(options), lambda: _unused(model, schema))
        for note in found.notes():
            tell(note)
    return model.eval(), schema


def match_checkpoint(entry: str, checkpoint: str, options: ModelOptions, tell: Tell) -> Match:
    """What load_model would load, without loading it."""
    model, schema = build(entry, options, tell)
    weights = open_checkpoint(checkpoint, options, tell)
    return without_unused(match(model, weights.specs, _mapping(options)), lambda: _unused(model, schema))


def open_checkpoint(checkpoint: str, options: ModelOptions, tell: Tell) -> Weights:
    weights = read_checkpoint(checkpoint, options.checkpoint_key)
    for note in weights.notes:
        tell(note)
    return weights


def build(
    entry: str, options: ModelOptions = ModelOptions(), tell: Tell = lambda message: None
) -> tuple[nn.Module, InputSchema]:
    """The model as the entry point builds it, and its schema: from the file, the entry point, or its examples."""
    built = _function(entry)()
    model, about = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    if not isinstance(model, nn.Module):
        raise ValueError(_refused(entry, built))
    if options.schema is not None:
        if isinstance(about, InputSchema):
            raise ValueError(f"--schema: entry point '{entry}' returns a schema of its own; use one of them")
        schema = read_schema(options.schema)
    elif isinstance(about, InputSchema):
        schema = about
    elif about is not None and not isinstance(about, (int, float, str)):
        schema, messages = infer_schema(model, about)
        for message in messages:
            tell(message)
    else:
        raise ValueError(_refused(entry, built))
    return model, drop_outputs(schema, options.drop_outputs) if options.drop_outputs else schema


def _mapping(options: ModelOptions) -> CheckpointMapping | None:
    return CheckpointMapping.load(options.checkpoint_mapping) if options.checkpoint_mapping else None


def _unused(model: nn.Module, schema: InputSchema) -> set[str]:
    """A model that cannot be captured needs all its weights: that they are missing is then the error to show."""
    try:
        return unused_weights(model, schema)
    except (CaptureError, ValueError):
        return set()


def _refused(entry: str, built: object) -> str:
    return (
        f"entry point '{entry}' returned {_described(built)}; return (nn.Module, recpile InputSchema), or "
        "(nn.Module, example inputs), or the nn.Module alone and give its schema as a file (--schema)"
    )


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
