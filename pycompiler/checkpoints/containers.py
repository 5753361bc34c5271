"""Finds the model's state_dict in what was saved: itself, or the obvious entry of a training dict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from recpile.pycompiler.checkpoints.errors import CheckpointError, listed, quoted

# The names under which training scripts put the model's weights.
_OBVIOUS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights")
_EXTRA_STATE = "_extra_state"  # what Module.get_extra_state gave: not a weight, whatever it holds
_DEEPEST = 3


def find_state(
    held: object, is_weight: Callable[[object], bool], source: str, key: str | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The weights by name, and notes on what was taken and left. `key` (dotted) says where they are.

    CheckpointError if there is no state_dict, if it is an optimizer's, or if several could be meant.
    """
    if not isinstance(held, Mapping):
        raise CheckpointError(
            f"{source} holds {_kind(held)}, not a state_dict of tensors; save model.state_dict() itself"
        )
    found = dict(_states(held, is_weight))
    if key is not None:
        if key not in found:
            raise CheckpointError(
                f"{source} has no state_dict of tensors at '{key}'; "
                + (f"there is one at {quoted(found)}" if any(found) else f"it holds {_keys(held)}")
            )
        return _weights(found[key], is_weight, key)
    if "" in found:
        return _weights(held, is_weight, "")
    if {"state", "param_groups"} <= set(held):
        raise CheckpointError(
            f"{source} is an optimizer's state (state, param_groups), not a model's; give the file that "
            "model.state_dict() was saved to"
        )
    obvious = [path for path in found if path.rpartition(".")[2] in _OBVIOUS]
    if len(obvious) == 1:
        weights, notes = _weights(found[obvious[0]], is_weight, obvious[0])
        others = [name for name in _top(held) if name != obvious[0]]
        left = f"; left: {quoted(others)}" if others else ""
        return weights, (f"took '{obvious[0]}' of the training dict{left}", *notes)
    stray = sorted(str(name) for name, value in held.items() if not is_weight(value))
    if found:
        raise CheckpointError(
            f"{source} holds {_keys(held)}: the weights may be {quoted(obvious or found)}; say which with "
            "--checkpoint-key"
        )
    if any(is_weight(value) for value in held.values()):
        raise CheckpointError(
            f"{source} holds {len(held) - len(stray)} tensors and, beside them, {quoted(stray)}; "
            "save model.state_dict() itself"
        )
    raise CheckpointError(f"{source} holds {_keys(held)}, not a state_dict of tensors; save model.state_dict() itself")


def _states(held: Mapping, is_weight: Callable[[object], bool], path: str = "", depth: int = 0) -> Iterator:
    """(path, mapping) of everything inside that is a flat state_dict, outermost first; what is in one is not sought."""
    if _is_state(held, is_weight):
        yield path, held
        return
    # An optimizer's state holds tensors by parameter: it looks like weights further down.
    if depth == _DEEPEST or "param_groups" in held:
        return
    for name, value in held.items():
        if isinstance(value, Mapping):
            yield from _states(value, is_weight, f"{path}.{name}" if path else str(name), depth + 1)


def _is_state(held: Mapping, is_weight: Callable[[object], bool]) -> bool:
    named = all(isinstance(name, str) for name in held)
    values = [value for name, value in held.items() if not _is_extra(name)]
    return named and bool(values) and all(is_weight(value) for value in values)


def _weights(held: Mapping, is_weight: Callable[[object], bool], path: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    extra = [f"{path}.{name}" if path else name for name in held if _is_extra(name)]
    notes = (f"extra state is not loaded: {quoted(extra)}",) if extra else ()
    return {name: value for name, value in held.items() if not _is_extra(name)}, notes


def _is_extra(name: object) -> bool:
    return isinstance(name, str) and name.rpartition(".")[2] == _EXTRA_STATE


def _top(held: Mapping) -> list[str]:
    return [str(name) for name in held]


def _keys(held: Mapping) -> str:
    return listed([f"'{name}' ({_kind(value)})" for name, value in held.items()]) if held else "nothing"


def _kind(value: object) -> str:
    return type(value).__name__
