"""Entry points: "module:function" whose call gives (model, InputSchema), found as `python -m` finds a module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.cli.entry import build, load_model
from recpile.pycompiler.cli.model_options import ModelOptions
from recpile.pycompiler.schema import Dense, InputSchema, SchemaError

GOOD = """
import torch
from recpile.pycompiler.schema import Dense, InputSchema

def build():
    return torch.nn.Linear(3, 1).train(), InputSchema([Dense("input", (3,))])

def wide():
    return torch.nn.Linear(9, 1), InputSchema([Dense("input", (9,))])

constant = 3
"""

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """write("name", source) makes a module in the current folder, which nothing else can see; gives its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    made: list[str] = []

    def make(name: str, source: str) -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        made.append(name)
        return name

    yield make
    for name in {part for one in made for part in (one, one.partition(".")[0])}:
        sys.modules.pop(name, None)


def test_a_module_in_the_current_folder_is_found_and_its_build_called(write: Write) -> None:
    model, schema = build(write("entry_good", GOOD))
    assert isinstance(model, nn.Linear)
    assert isinstance(schema, InputSchema)


def test_another_function_may_be_named(write: Write) -> None:
    model, _ = build(write("entry_wide", GOOD) + ":wide")
    assert model.in_features == 9


def test_a_module_inside_a_package_is_found(write: Write) -> None:
    assert isinstance(build(write("entry_package.ranker", GOOD))[0], nn.Linear)


def test_the_checkpoint_is_loaded_and_the_model_put_in_eval_mode(write: Write, tmp_path: Path) -> None:
    trained = nn.Linear(3, 1)
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    model, _ = load_model(write("entry_loads", GOOD), str(tmp_path / "model.pt"))
    assert torch.equal(model.get_parameter("weight"), trained.weight)
    assert not model.training


def test_without_a_checkpoint_the_model_is_as_built(write: Write) -> None:
    model, schema = load_model(write("entry_bare", GOOD), None)
    assert not model.training
    assert [one.name for one in schema.inputs] == ["input"]


def test_a_checkpoint_that_does_not_fit_is_refused(write: Write, tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="'weight' is"):
        load_model(write("entry_misfit", GOOD), str(tmp_path / "model.pt"))


def test_a_module_that_is_not_there_is_refused_with_where_it_was_sought(write: Write, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"entry point 'entry_none:build': no module 'entry_none'; give MODULE:FUNC"
    ) as e:
        build("entry_none:build")
    assert str(tmp_path) in str(e.value)


def test_a_module_that_is_not_in_its_package_is_refused(write: Write) -> None:
    write("entry_half.ranker", GOOD)
    with pytest.raises(ValueError, match=r"no module 'entry_half\.ranked'"):
        build("entry_half.ranked")


def test_a_module_that_the_users_module_lacks_is_its_own_error(write: Write) -> None:
    name = write("entry_lacks", "import a_package_that_is_not_installed")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
        build(name)


def test_an_error_in_the_users_code_is_not_hidden(write: Write) -> None:
    name = write("entry_raises", "def build():\n    raise KeyError('vocabulary')")
    with pytest.raises(KeyError, match="vocabulary"):
        build(name)


@pytest.mark.parametrize("function", ["bulid", "constant"])
def test_a_function_that_is_not_there_or_cannot_be_called_is_refused(write: Write, function: str) -> None:
    name = write("entry_functions", GOOD)
    with pytest.raises(ValueError, match=f"module 'entry_functions' has no function '{function}'"):
        build(f"{name}:{function}")


@pytest.mark.parametrize(
    ("returned", "described"),
    [
        ("torch.nn.Linear(1, 1)", "Linear"),
        ("None", "NoneType"),
        ("(torch.nn.Linear(1, 1), 3)", "a tuple of Linear, int"),
        ("(1, 2, 3)", "a tuple of int, int, int"),
    ],
)
def test_anything_else_than_a_model_and_what_its_inputs_are_is_refused(
    write: Write, returned: str, described: str
) -> None:
    name = write("entry_returns", f"import torch\ndef build():\n    return {returned}")
    expected = rf"'entry_returns' returned {described}; return \(nn.Module, recpile InputSchema\), or .*\(--schema\)"
    with pytest.raises(ValueError, match=expected):
        build(name)


def test_a_model_alone_takes_its_schema_from_a_file(write: Write, tmp_path: Path) -> None:
    name = write("entry_alone", "import torch\ndef build():\n    return torch.nn.Linear(3, 1)")
    (tmp_path / "schema.yaml").write_text("inputs: {input: {kind: dense, shape: [3]}}\noutputs: [click]")
    _, schema = build(name, ModelOptions(schema="schema.yaml"))
    assert schema == InputSchema([Dense("input", (3,))], ["click"])


def test_two_schemas_are_one_too_many(write: Write) -> None:
    with pytest.raises(
        ValueError, match="--schema: entry point 'entry_two' returns a schema of its own; use one of them"
    ):
        build(write("entry_two", GOOD), ModelOptions(schema="schema.yaml"))


@pytest.mark.parametrize("examples", ["(torch.ones(4, 3),)", "{'input': torch.ones(4, 3)}", "torch.ones(4, 3)"])
def test_example_inputs_in_place_of_a_schema_are_inferred_from_and_it_is_said(write: Write, examples: str) -> None:
    name = write("entry_examples", f"import torch\ndef build():\n    return torch.nn.Linear(3, 1), {examples}")
    said: list[str] = []
    _, schema = build(name, tell=said.append)
    assert schema == InputSchema([Dense("input", (3,))])
    assert "input 'input': dense fp32 [B, 3]" in said


TRAINS = """
import torch
from recpile.pycompiler.schema import Dense, InputSchema

class Trains(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.aux = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)

    def forward(self, x):
        return {"aux": self.aux(x), "score": self.head(x)}

def build():
    return Trains(), InputSchema([Dense("x", (3,))], ["aux", "score"])
"""


def test_an_output_that_the_user_drops_takes_its_weights_with_it(write: Write, tmp_path: Path) -> None:
    name = write("entry_trains", TRAINS)
    held = nn.Linear(3, 1).state_dict(prefix="net.head.")
    torch.save({"model": held, "epoch": 2}, tmp_path / "model.pt")
    (tmp_path / "rules.yaml").write_text("- {glob: net.**, to: '{1}'}")
    said: list[str] = []
    options = ModelOptions(drop_outputs=("aux",), checkpoint_mapping="rules.yaml")
    model, schema = load_model(name, "model.pt", options, said.append)
    assert schema.outputs == ("score",)
    assert torch.equal(model.get_parameter("head.weight"), held["net.head.weight"])
    assert said == [
        "took 'model' of the training dict; left: 'epoch'",
        "2 weights by rule 1: 'net.head.weight', 'net.head.bias'",
        "2 weights are not in the checkpoint and not needed: 'aux.weight', 'aux.bias'",
    ]


def test_weights_of_an_output_that_is_kept_are_needed(write: Write, tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 1).state_dict(prefix="head."), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"2 missing: 'aux.weight', 'aux.bias'"):
        load_model(write("entry_keeps", TRAINS), "model.pt")


def test_dropping_an_output_that_is_not_there_is_refused(write: Write) -> None:
    with pytest.raises(SchemaError, match="--drop-output: got"):
        build(write("entry_drops", TRAINS), ModelOptions(drop_outputs=("auxiliary",)))
