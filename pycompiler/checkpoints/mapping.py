"""The mapping file: rules that rename a checkpoint's weights to the model's. docs/checkpoints.md is its grammar."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recpile.pycompiler.checkpoints.errors import CheckpointError, nearest, quoted
from recpile.pycompiler.yaml_file import read_yaml

_KINDS = ("exact", "glob", "regex")
_CAPTURE = re.compile(r"\{(\w+)\}")
_WILDCARD = re.compile(r"\*\*|\*|\?")
_WILDCARDS = {"**": "(.*)", "*": r"([^.]*)", "?": r"([^.])"}


@dataclass(frozen=True)
class Rule:
    """One rule: a weight whose whole name fits `pattern` becomes `to`, or is dropped if `to` is None.

    In a glob `*` stands for anything but a dot, `**` for anything, `?` for one character but a dot; each is a capture,
    `{1}` the first. A regex is Python's, its groups are the captures, by number or name. CheckpointError if `to` uses a
    capture that the pattern does not have.
    """

    kind: str
    pattern: str
    to: str | None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise CheckpointError(f"got a rule of kind '{self.kind}'; use one of {', '.join(_KINDS)}")
        held = {str(i) for i in range(1, self._regex.groups + 1)} | set(self._regex.groupindex)
        unknown = [name for name in _CAPTURE.findall(self.to or "") if name not in held]
        if unknown:
            has = "captures " + ", ".join(f"{{{one}}}" for one in sorted(held)) if held else "no captures"
            raise CheckpointError(f"{self}: `to` uses {{{unknown[0]}}}, but the {self.kind} has {has}")

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        if self.kind == "regex":
            try:
                return re.compile(self.pattern)
            except re.error as error:
                raise CheckpointError(f"{self}: not a regular expression: {error}") from error
        if self.kind == "exact":
            return re.compile(re.escape(self.pattern))
        parts, end = [], 0
        for wildcard in _WILDCARD.finditer(self.pattern):
            parts += [re.escape(self.pattern[end : wildcard.start()]), _WILDCARDS[wildcard.group()]]
            end = wildcard.end()
        return re.compile("".join([*parts, re.escape(self.pattern[end:])]))

    def match(self, name: str) -> re.Match[str] | None:
        return self._regex.fullmatch(name)

    def rename(self, match: re.Match[str]) -> str | None:
        """The new name, or None to drop. CheckpointError for a group that took no part in the match."""
        if self.to is None:
            return None

        def held(use: re.Match[str]) -> str:
            name = use.group(1)
            got = match.group(int(name) if name.isdigit() else name)
            if got is None:
                raise CheckpointError(f"{self}: `to` uses {{{name}}}, which captured nothing in '{match.string}'")
            return got

        return _CAPTURE.sub(held, self.to)

    def __str__(self) -> str:
        return f"{self.kind} '{self.pattern}'"


@dataclass(frozen=True)
class Renamed:
    """What the rules make of one name: `to` (None: dropped), by rule number `rule`, counted from 1 (None: by none)."""

    name: str
    to: str | None
    rule: int | None


@dataclass(frozen=True)
class CheckpointMapping:
    """Rules in order: the first that fits a name decides. A name that none fits stays as it is."""

    rules: tuple[Rule, ...] = ()
    source: str = "the mapping"

    @staticmethod
    def load(path: str | Path) -> CheckpointMapping:
        """From YAML: a list of rules. CheckpointError names the rule that is wrong, and why."""
        try:
            held = read_yaml(path)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        if not isinstance(held, list) or not held:
            raise CheckpointError(f"{path} holds {type(held).__name__}; use a list of rules, each {_GRAMMAR}")
        return CheckpointMapping(tuple(_rule(one, f"{path}, rule {i}") for i, one in enumerate(held, 1)), str(path))

    def apply(self, names: Iterable[str]) -> list[Renamed]:
        """Every name with what it becomes. CheckpointError for a rule that decided nothing."""
        names = list(names)
        renamed = [self._renamed(name) for name in names]
        used = {one.rule for one in renamed}
        for number, rule in enumerate(self.rules, 1):
            if number not in used:
                raise CheckpointError(f"{self.source}, rule {number} ({rule}) {self._why_unused(rule, names)}")
        return renamed

    def _renamed(self, name: str) -> Renamed:
        for number, rule in enumerate(self.rules, 1):
            match = rule.match(name)
            if match is not None:
                return Renamed(name, rule.rename(match), number)
        return Renamed(name, name, None)

    def _why_unused(self, rule: Rule, names: list[str]) -> str:
        fits = [name for name in names if rule.match(name)]
        if fits:
            first = next(number for number, one in enumerate(self.rules, 1) if one.match(fits[0]))
            return f"never decides: rule {first} before it takes '{fits[0]}'; put the narrower rule first"
        guess = nearest(rule.pattern, names, cutoff=0.5)
        hint = f"the nearest is '{guess}'" if guess else f"its names are {quoted(names)}"
        return f"matches no weight of the checkpoint; {hint}. Remove or mend the rule"


_GRAMMAR = "with one of exact, glob, regex, and one of `to: NAME`, `drop: true`"


def _rule(held: Any, where: str) -> Rule:
    if not isinstance(held, dict):
        raise CheckpointError(f"{where}: got {held!r}; use a rule {_GRAMMAR}")
    kinds = [kind for kind in _KINDS if kind in held]
    unknown = [str(name) for name in held if name not in (*_KINDS, "to", "drop")]
    if unknown or len(kinds) != 1 or ("to" in held) == ("drop" in held):
        raise CheckpointError(f"{where}: got {quoted(str(name) for name in held)}; use a rule {_GRAMMAR}")
    pattern, to = held[kinds[0]], held.get("to")
    if not isinstance(pattern, str) or ("to" in held and not isinstance(to, str)):
        raise CheckpointError(f"{where}: names are text; put quotes around them")
    if "drop" in held and held["drop"] is not True:
        raise CheckpointError(f"{where}: got drop: {held['drop']}; use `drop: true`")
    try:
        return Rule(kinds[0], pattern, to)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from error
