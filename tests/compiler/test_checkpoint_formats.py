"""Files of torch.save: which part of a training dict is taken, and that nothing in a file is executed."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from compiler.checkpoint_files import STATE, Payload, held, same, saved
from torch import nn

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.read import read_checkpoint


@pytest.mark.proves("Checkpoints", "state_dict .pt", "graph")
def test_a_state_dict_is_read_and_its_shapes_are_known_before(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", STATE)
    assert {name: spec.shape for name, spec in read_checkpoint(path).specs.items()} == {
        "hidden.weight": (2, 3),
        "hidden.bias": (2,),
    }
    assert same(held(path))


def test_a_file_of_the_time_before_zip_files_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(held(tmp_path / "old.pt"))


@pytest.mark.parametrize("name", ["model", "state_dict", "model_state_dict"])
def test_of_a_training_dict_the_obvious_entry_is_taken_and_it_is_said(tmp_path: Path, name: str) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    path = saved(tmp_path / "training.pt", {"epoch": 3, name: STATE, "optimizer": optimizer})
    assert read_checkpoint(path).notes == (f"took '{name}' of the training dict; left: 'epoch', 'optimizer'",)
    assert same(held(path))


def test_which_entry_is_taken_can_be_said(tmp_path: Path) -> None:
    ema = {name: value + 1 for name, value in STATE.items()}
    path = saved(tmp_path / "training.pt", {"model": STATE, "averages": {"ema": ema}})
    assert same(held(path))
    assert same(held(path, "averages.ema"), ema)
    with pytest.raises(
        CheckpointError, match=r"no state_dict of tensors at 'ema'; there is one at 'model', 'averages.ema"
    ):
        read_checkpoint(path, "ema")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            {"state": {0: {"m": torch.ones(1)}}, "param_groups": []},
            "is an optimizer's state .* not a model's; give the",
        ),
        ({"a": STATE, "b": STATE}, "the weights may be 'a', 'b'; say which with --checkpoint-key"),
        ({"model": STATE, "net": STATE, "c": STATE}, "the weights may be 'model', 'net'; say which"),
        ({**STATE, "epoch": 3}, "holds 2 tensors and, beside them, 'epoch'; save model.state_dict"),
        ({"epoch": 3}, r"holds 'epoch' \(int\), not a state_dict of tensors; save model.state_dict"),
        ({}, "holds nothing, not a state_dict"),
        ([torch.zeros(1)], "holds list, not a state_dict"),
        (torch.zeros(1), "holds Tensor, not a state_dict"),
    ],
    ids=["optimizer", "unknown names", "two obvious", "stray", "no weights", "empty", "list", "tensor"],
)
def test_what_is_not_one_state_dict_is_refused_with_the_way_out(tmp_path: Path, what: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(saved(tmp_path / "model.pt", what))


def test_extra_state_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {**STATE, "hidden._extra_state": {"scale": 2}})
    assert same(held(path))
    assert read_checkpoint(path).notes == ("extra state is not loaded: 'hidden._extra_state'",)


def test_a_missing_file_is_refused_with_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*none.pt; give a file written by torch.save\("):
        read_checkpoint(tmp_path / "none.pt")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", STATE)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"model.pt is not a readable checkpoint: .*; write it with torch.save\("):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint at all"])
def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.pt is not a readable checkpoint: \S"):
        read_checkpoint(path)


@pytest.mark.proves("Checkpoints", "state_dict .pt", "refusal")
def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = saved(tmp_path / "model.pt", {"model": STATE, "code": Payload(mark)})
    assert same(held(path))
    assert not mark.exists()
    # The file is a real trap: a reader that trusts it does run the code.
    torch.load(path, weights_only=False)
    assert mark.read_text() == "executed"


def test_what_a_script_saved_beside_the_weights_is_left(tmp_path: Path) -> None:
    path = saved(tmp_path / "training.pt", {"model": STATE, "args": Namespace(lr=0.1), "loss": np.float64(0.5)})
    assert same(held(path))


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds Linear, not a state_dict of tensors; save model.state_dict\(\)"):
        read_checkpoint(saved(tmp_path / "model.pt", nn.Linear(2, 1)))


def test_a_torchscript_file_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 1)), str(tmp_path / "model.pt"))
    with pytest.raises(CheckpointError, match=r"is not a readable checkpoint: .* got a torchscript checkpoint"):
        read_checkpoint(tmp_path / "model.pt")
