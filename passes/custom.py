"""Finds the user's own pass: "package.module:Name", a Pass class or a function that returns a pass."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from recpile.passes.base import Pass


def load_pass(text: str) -> Pass:
    """The pass that `--pass my_pkg:MyPass` names. ValueError says what is wrong with the module or the class.

    A class or a function is called without arguments; a pass object is taken as it is.
    """
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise ValueError(
            f"--pass: got '{text}'; use MODULE:NAME, where NAME is a Pass class or a function returning one"
        )
    # As for the model's entry point: what lies in the current folder is found.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ValueError(
            f"--pass '{text}': no module '{error.name}'; give MODULE:NAME importable from here ({Path.cwd()})"
        ) from error
    if not hasattr(module, name):
        passes = [key for key, one in vars(module).items() if _is_own_pass(one, module_name)]
        has = f"it has {', '.join(passes)}" if passes else "it has no Pass class"
        raise ValueError(f"--pass '{text}': module '{module_name}' has no '{name}'; {has}")
    return _made(getattr(module, name), text)


def _made(found: object, text: str) -> Pass:
    if isinstance(found, Pass):
        return found
    if not callable(found):
        raise ValueError(f"--pass '{text}' is {found!r}; use a Pass class, a function returning a pass, or a pass")
    try:
        made = found()
    except TypeError as error:
        raise ValueError(
            f"--pass '{text}' cannot be called without arguments: {error}; "
            "implement run(), and for parameters name a function that returns the pass"
        ) from error
    if not isinstance(made, Pass):
        raise ValueError(
            f"--pass '{text}' gives a {type(made).__name__}; derive it from recpile.passes.base.Pass "
            "(docs/custom_pass.md)"
        )
    return made


def _is_own_pass(one: object, module_name: str) -> bool:
    return isinstance(one, type) and issubclass(one, Pass) and one.__module__ == module_name
