"""`recpile checkpoint` and `recpile schema`: what a checkpoint and a model are to each other, before any export."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from recpile.pycompiler.cli.main import main
from recpile.pycompiler.schema import Dense, InputSchema
from recpile.pycompiler.schema_file import parse_schema

MODEL = """
import torch
from torch import nn
from recpile.pycompiler.schema import Dense, InputSchema

class Ranker(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(3, 2), nn.Linear(2, 1)

    def forward(self, x):
        return self.out(self.hidden(x)).squeeze(1)

def build():
    return Ranker(), InputSchema([Dense("x", (3,))])

def by_example():
    return Ranker(), [torch.ones(4, 3), torch.ones(5, 3)]
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recpile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """recpile("schema", …) in a folder with a model and a checkpoint -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "ranker_commands.py").write_text(MODEL)
    state = {**nn.Linear(3, 2).state_dict(prefix="net.hid."), **nn.Linear(2, 1).state_dict(prefix="net.out.")}
    torch.save({"model": {**state, "net.aux.weight": torch.zeros(1)}, "step": 3}, tmp_path / "trained.pt")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield run
    sys.modules.pop("ranker_commands", None)


RULES = """
- {glob: 'net.hid.*', to: 'hidden.{1}'}
- {glob: 'net.aux.**', drop: true}
- {glob: 'net.**', to: '{1}'}
"""


def test_a_dry_run_shows_what_goes_where(recpile: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    code, out, _ = recpile("checkpoint", "ranker_commands", "-c", "trained.pt", "--mapping", "rules.yaml")
    assert code == 0
    assert "took 'model' of the training dict; left: 'step'" in out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
    assert rows == [
        ["net.hid.weight", "hidden.weight", "fp32 (2, 3)", "by rule 1"],
        ["net.hid.bias", "hidden.bias", "fp32 (2)", "by rule 1"],
        ["net.out.weight", "out.weight", "fp32 (1, 2)", "by rule 3"],
        ["net.out.bias", "out.bias", "fp32 (1)", "by rule 3"],
        ["net.aux.weight", "", "", "dropped by rule 2"],
    ]
    assert "4 mapped, 0 missing, 0 left over\n1 dropped\n" in out
    assert out.endswith("the checkpoint fits the model\n")


def test_a_dry_run_that_does_not_fit_exits_with_1_and_gives_a_hint(recpile: Run) -> None:
    code, out, _ = recpile("checkpoint", "ranker_commands", "-c", "trained.pt")
    assert code == 1
    assert "0 mapped, 4 missing, 5 left over" in out
    assert "the checkpoint's names begin with 'net.': a rule `glob: 'net.**'`, `to: '{1}'`" in out
    assert out.endswith("the checkpoint does not fit the model\n")


def test_a_mapping_that_does_not_work_is_one_clear_line(recpile: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("- {exact: net.hid.wieght, to: hidden.weight}")
    code, _, err = recpile("checkpoint", "ranker_commands", "-c", "trained.pt", "--mapping", "rules.yaml")
    assert code == 2
    assert err.startswith("recpile checkpoint: rules.yaml, rule 1 (exact 'net.hid.wieght') matches no weight")


def test_the_schema_of_an_entry_is_printed_as_yaml(recpile: Run) -> None:
    code, out, err = recpile("schema", "ranker_commands")
    assert (code, err) == (0, "")
    assert parse_schema(out) == InputSchema([Dense("x", (3,))])


def test_what_was_inferred_is_said_beside_the_schema(recpile: Run, tmp_path: Path) -> None:
    code, out, err = recpile("schema", "ranker_commands:by_example", "--output", "schema.yaml")
    assert (code, out) == (0, "")
    assert "axis 0 of every input is the batch: 4 and 5 rows, as it differs between the examples" in err
    assert parse_schema((tmp_path / "schema.yaml").read_text()) == InputSchema([Dense("x", (3,))])
