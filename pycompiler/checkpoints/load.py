"""Loads a checkpoint into a model by name, and is strict about it: every weight is found, none is left over."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from torch import Tensor, nn

from recpile.pycompiler.checkpoints.errors import CheckpointError, quoted
from recpile.pycompiler.checkpoints.mapping import CheckpointMapping
from recpile.pycompiler.checkpoints.match import Match, match
from recpile.pycompiler.checkpoints.weights import Weights


def load_checkpoint(
    model: nn.Module,
    weights: Weights,
    mapping: CheckpointMapping | None = None,
    unused: Callable[[], Collection[str]] = tuple,
) -> Match:
    """Puts `weights` into `model`. CheckpointError lists every missing, unexpected or misshapen weight by name, and the
    model is then as it was.

    `unused` gives the model's weights that nothing depends on, which may be missing; it is asked only if some are.
    """
    found = without_unused(match(model, weights.specs, mapping), unused)
    found.check()
    wanted = model.state_dict()
    read = weights.read({pair.source: wanted[pair.target] for pair in found.pairs})
    # Copied rather than assigned: a parameter that two modules share stays one parameter. Strict in what follows: some
    # names may be missing.
    result = model.load_state_dict({pair.target: read[pair.source] for pair in found.pairs}, strict=False)
    absent = set(result.missing_keys) & set(wanted) - {*found.tied, *found.unused}
    refused = [*result.unexpected_keys, *(name for name in absent if isinstance(wanted[name], Tensor))]
    if refused:
        raise CheckpointError(f"the model's own load_state_dict did not take {quoted(refused)}, which state_dict names")
    return found


def without_unused(found: Match, unused: Callable[[], Collection[str]]) -> Match:
    if not found.missing or not found.pairs:  # where nothing fits, the names are what is wrong
        return found
    spare = set(unused())
    return replace(
        found,
        missing=tuple(name for name in found.missing if name not in spare),
        unused=tuple(name for name in found.missing if name in spare),
    )
