"""Matches a checkpoint's weights with a model's by name, without reading their bytes: what a dry run shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn

from recpile.pycompiler.checkpoints.errors import MOST_LISTED, CheckpointError, listed, nearest, quoted
from recpile.pycompiler.checkpoints.mapping import CheckpointMapping, Renamed
from recpile.pycompiler.checkpoints.weights import WeightSpec
from recpile.pycompiler.checkpoints.wrappers import by_unwrapped, prefix_hint, unwrapped, wrapper_of
from recpile.pycompiler.schema import DTYPE_NAMES


@dataclass(frozen=True)
class Pair:
    """A weight of the checkpoint that goes to a weight of the model, and why (`how`)."""

    source: str
    target: str
    how: str
    spec: WeightSpec


@dataclass(frozen=True)
class Match:
    """What becomes of every name. `tied` model weights are the same tensor as one that was found; `unused` ones are
    missing, and no output of the model depends on them."""

    pairs: tuple[Pair, ...]
    dropped: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    unfit: tuple[str, ...]
    tied: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Why the checkpoint does not fit; empty if it does."""
        problems = []
        if self.missing:
            problems.append(f"{len(self.missing)} missing: {listed(self._guessed())}")
        if self.left_over:
            problems.append(f"{len(self.left_over)} unexpected: {quoted(self.left_over)}")
        if self.unfit:
            problems.append(f"{len(self.unfit)} of another shape or type: {listed(list(self.unfit))}")
        return problems

    def hint(self) -> str | None:
        """What to put into a mapping file, if the names say."""
        hint = prefix_hint(self.left_over, self.missing)
        if hint is None and self.left_over and not self.missing:
            return "if the model does not need them, drop them: a rule with `glob` or `exact`, and `drop: true`"
        return hint

    def check(self) -> None:
        """CheckpointError with every problem at once."""
        problems, hint = self.problems(), self.hint()
        if problems:
            raise CheckpointError(
                "the checkpoint does not fit the model; weights "
                + "; ".join(problems)
                + (f". In a mapping file (--checkpoint-mapping), {hint}" if hint else "")
            )

    def notes(self) -> list[str]:
        """What was decided that the user may want to know."""
        told: dict[str, list[str]] = {}
        for pair in self.pairs:
            if pair.how:
                told.setdefault(pair.how, []).append(pair.source)
        said = [
            f"{len(names)} weights {how}: {quoted(names[:3])}{', …' * (len(names) > 3)}" for how, names in told.items()
        ]
        if self.dropped:
            said.append(f"{len(self.dropped)} weights dropped: {quoted(name for name, _ in self.dropped)}")
        if self.unused:
            said.append(f"{len(self.unused)} weights are not in the checkpoint and not needed: {quoted(self.unused)}")
        return said

    def _guessed(self) -> list[str]:
        """The missing names, those that will be shown with what they may be called in the checkpoint."""
        # Where one rule mends them all, a guess for each would hide it.
        guess = not prefix_hint(self.left_over, self.missing)
        found = [nearest(name, self.left_over) if guess else None for name in self.missing[:MOST_LISTED]]
        hints = [f" (did you mean the checkpoint's '{one}'?)" if one else "" for one in found]
        return [f"'{name}'{hint}" for name, hint in zip_longest(self.missing, hints, fillvalue="")]


def match(model: nn.Module, specs: Mapping[str, WeightSpec], mapping: CheckpointMapping | None = None) -> Match:
    """What would go where. CheckpointError for a model on the meta device and for rules that do not work; what does not
    fit is in the Match."""
    wanted = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    meta = [name for name, value in wanted.items() if value.is_meta]
    if meta:
        raise CheckpointError(
            f"the model has weights on the meta device, which hold nothing: {quoted(meta)}; build it on the CPU"
        )
    pairs: dict[str, Pair] = {}
    dropped, left_over, unfit = [], [], []
    short_wanted = by_unwrapped(wanted)
    renamed = (mapping or CheckpointMapping()).apply(specs)
    taken = {one.to for one in renamed}
    for one in renamed:
        if one.to is None:
            dropped.append((one.name, f"rule {one.rule}"))
            continue
        target, how = _target(one, wanted, short_wanted, taken)
        if target is None:
            left_over.append(one.name)
            continue
        if target in pairs:
            raise CheckpointError(
                f"two weights of the checkpoint, '{pairs[target].source}' and '{one.name}', map onto the model's "
                f"'{target}'; drop one of them in the mapping file"
            )
        problem, cast = _fit(one.name, target, specs[one.name], wanted[target])
        unfit += [problem] if problem else []
        pairs[target] = Pair(one.name, target, ", ".join(filter(None, (how, cast))), specs[one.name])
    missing = [name for name in wanted if name not in pairs]
    found = {_place(wanted[name]) for name in pairs}
    tied = tuple(name for name in missing if _place(wanted[name]) in found)
    missing = tuple(name for name in missing if name not in tied)
    return Match(tuple(pairs.values()), tuple(dropped), missing, tuple(left_over), tuple(unfit), tied)


def _target(
    one: Renamed, wanted: Mapping[str, Tensor], short_wanted: Mapping[str, str], taken: set[str | None]
) -> tuple[str | None, str]:
    assert one.to is not None
    by_rule = f"by rule {one.rule}" if one.rule else ""
    if one.to in wanted:
        return one.to, by_rule
    target = short_wanted.get(unwrapped(one.to))
    # A name that is in the checkpoint as it stands needs no wrapped one.
    if target is None or target in taken:
        return None, by_rule
    wrapper = wrapper_of(one.to) or wrapper_of(target)
    return target, ", ".join(filter(None, (by_rule, f"without the wrapper's name '{wrapper}'")))


def _fit(source: str, target: str, spec: WeightSpec, wanted: Tensor) -> tuple[str | None, str]:
    """(what is wrong, what is done about the type)."""
    name = f"'{target}'" if source == target else f"'{target}' (the checkpoint's '{source}')"
    if spec.shape != tuple(wanted.shape):
        return f"{name} is {list(spec.shape)} in the checkpoint and {list(wanted.shape)} in the model", ""
    if spec.dtype == wanted.dtype:
        return None, ""
    got, expected = (DTYPE_NAMES.get(one, str(one)) for one in (spec.dtype, wanted.dtype))
    if _holds(wanted.dtype, spec.dtype):
        return None, f"widened from {got} to {expected}"
    return (
        f"{name} is {got} in the checkpoint and {expected} in the model, which cannot hold it exactly: convert one of "
        "them where you save or build it"
    ), ""


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether every value of `narrow` is one of `wide`, of the same kind of number."""
    if wide.is_floating_point != narrow.is_floating_point or wide.is_complex != narrow.is_complex:
        return False
    try:
        return torch.promote_types(wide, narrow) == wide
    except RuntimeError:  # types that torch does not promote, such as fp8
        return False


def _place(value: Tensor) -> tuple:
    """The same for two names of one tensor, as in tied weights."""
    return value.data_ptr(), tuple(value.shape), value.stride(), value.numel() or id(value)
