"""Mapping files: rules in order, the first that fits a name decides; what does not work is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.load import load_checkpoint
from recpile.pycompiler.checkpoints.mapping import CheckpointMapping, Rule
from recpile.pycompiler.checkpoints.match import match
from recpile.pycompiler.checkpoints.weights import HeldWeights


def mapping(path: Path, text: str) -> CheckpointMapping:
    (path / "rules.yaml").write_text(text)
    return CheckpointMapping.load(path / "rules.yaml")


def renamed(rules: CheckpointMapping, *names: str) -> list[str | None]:
    return [one.to for one in rules.apply(names)]


def test_the_first_rule_that_fits_decides_and_other_names_stay(tmp_path: Path) -> None:
    rules = mapping(
        tmp_path,
        r"""
        - exact: net.head.bias
          to: out.bias
        - glob: net.*.weight
          to: '{1}.w'
        - regex: 'emb_(?P<table>\w+)\.(weight|bias)'
          to: tables.{table}.{2}
        - glob: net.**
          drop: true
        """,
    )
    names = ["net.head.bias", "net.head.weight", "emb_user.weight", "net.aux.deep.bias", "other"]
    assert renamed(rules, *names) == ["out.bias", "head.w", "tables.user.weight", None, "other"]
    assert [one.rule for one in rules.apply(names)] == [1, 2, 3, 4, None]


@pytest.mark.parametrize(
    ("pattern", "name", "captures"),
    [
        ("a.*.b", "a.x.b", ("x",)),
        ("a.*.b", "a.x.y.b", None),
        ("a.**.b", "a.x.y.b", ("x.y",)),
        ("layer?.*", "layer3.bias", ("3", "bias")),
        ("a.b", "aXb", None),
        ("a.b", "a.b.c", None),
    ],
)
def test_in_a_glob_one_star_stays_within_a_part_and_two_do_not(
    pattern: str, name: str, captures: tuple[str, ...] | None
) -> None:
    found = Rule("glob", pattern, None).match(name)
    assert (found and found.groups()) == captures


def test_a_regex_fits_the_whole_name() -> None:
    assert Rule("regex", "head", "out").match("head.weight") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", r"rules.yaml holds dict; use a list of rules, each with one of exact, glob, regex"),
        ("[]", "holds list; use a list of rules"),
        ("- a", "rule 1: got 'a'; use a rule with one of exact"),
        ("- exact: a", "rule 1: got 'exact'; use a rule with one of exact, glob, regex, and one of"),
        ("- {exact: a, glob: b, to: c}", "rule 1: got 'exact', 'glob', 'to'; use"),
        ("- {exact: a, to: b, drop: true}", "rule 1: got 'exact', 'to', 'drop'; use"),
        ("- {exact: a, too: b}", "rule 1: got 'exact', 'too'; use"),
        ("- {exact: a, drop: false}", "rule 1: got drop: False; use `drop: true`"),
        ("- {exact: 3, to: b}", "rule 1: names are text; put quotes around them"),
        ("- {exact: a, to: b}\n- {regex: '(', to: b}", r"rule 2: regex '\(': not a regular expression"),
        ("- {glob: 'a.*', to: 'b.{2}'}", re.escape("rule 1: glob 'a.*': `to` uses {2}, but the glob has captures {1}")),
        ("- {exact: a, to: 'b.{1}'}", r"`to` uses \{1\}, but the exact has no captures"),
        ("- {regex: '(?P<t>a)', to: '{table}'}", r"`to` uses \{table\}, but the regex has captures \{1\}, \{t\}"),
        ("- {exact: a, exact: b, to: c}", "rules.yaml, line 1: 'exact' is given twice"),
        ("- {exact: a", "rules.yaml, line 1: "),
    ],
)
def test_a_rule_that_is_not_one_is_refused_by_its_number(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        mapping(tmp_path, text)


@pytest.mark.proves("Checkpoints", "rename rules and dry run", "refusal")
def test_a_rule_that_matches_nothing_is_refused_with_the_nearest_name() -> None:
    rules = CheckpointMapping((Rule("exact", "hidden.wieght", "w"),), "rules.yaml")
    expected = (
        r"rules.yaml, rule 1 \(exact 'hidden.wieght'\) matches no weight of the checkpoint; "
        "the nearest is 'hidden.weight'"
    )
    with pytest.raises(CheckpointError, match=expected):
        rules.apply(["hidden.weight", "hidden.bias"])


def test_a_rule_that_an_earlier_one_shadows_is_refused() -> None:
    rules = CheckpointMapping((Rule("glob", "**", "net.{1}"), Rule("exact", "a", "b")))
    with pytest.raises(
        CheckpointError, match=r"rule 2 \(exact 'a'\) never decides: rule 1 before it takes 'a'; put the"
    ):
        rules.apply(["a", "c"])


def test_a_group_that_captured_nothing_is_refused() -> None:
    rules = CheckpointMapping((Rule("regex", r"a(\.x)?", "b{1}"),))
    with pytest.raises(CheckpointError, match=r"`to` uses \{1\}, which captured nothing in 'a'"):
        rules.apply(["a"])


def test_two_weights_mapped_onto_one_are_refused() -> None:
    held = HeldWeights({"old.weight": torch.ones(1, 2), "weight": torch.ones(1, 2), "bias": torch.ones(1)})
    rules = CheckpointMapping((Rule("exact", "old.weight", "weight"),))
    expected = "two weights of the checkpoint, 'old.weight' and 'weight', map onto the model's 'weight'; drop one"
    with pytest.raises(CheckpointError, match=expected):
        match(nn.Linear(2, 1), held.specs, rules)


@pytest.mark.proves("Checkpoints", "rename rules and dry run", "graph")
def test_what_the_rules_give_is_loaded_and_said() -> None:
    held = HeldWeights({"w": torch.ones(1, 2), "b": torch.ones(1), "head.w": torch.ones(3), "head.b": torch.ones(3)})
    rules = CheckpointMapping((Rule("exact", "w", "weight"), Rule("glob", "head.*", None), Rule("exact", "b", "bias")))
    model = nn.Linear(2, 1)
    found = load_checkpoint(model, held, rules)
    assert model.weight.tolist() == [[1.0, 1.0]]
    assert found.notes() == [
        "1 weights by rule 1: 'w'",
        "1 weights by rule 3: 'b'",
        "2 weights dropped: 'head.w', 'head.b'",
    ]


def test_a_misshapen_weight_is_named_as_both_sides_call_it() -> None:
    held = HeldWeights({"w": torch.ones(2, 2), "bias": torch.ones(1)})
    found = match(nn.Linear(2, 1), held.specs, CheckpointMapping((Rule("exact", "w", "weight"),)))
    assert found.unfit == ("'weight' (the checkpoint's 'w') is [2, 2] in the checkpoint and [1, 2] in the model",)
