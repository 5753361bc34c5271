"""Folders of torch.distributed.checkpoint, read without a process group."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from compiler.checkpoint_files import STATE, Payload, held, same
from torch import nn

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.load import load_checkpoint
from recpile.pycompiler.checkpoints.read import read_checkpoint


def dcp_folder(folder: Path, state: dict) -> Path:
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.mark.proves("Checkpoints", "torch DCP folder", "graph")
def test_a_dcp_folder_is_read_without_a_process_group(tmp_path: Path) -> None:
    assert same(held(dcp_folder(tmp_path / "step-5", STATE)))
    assert not dist.is_initialized()


def test_of_a_dcp_training_folder_the_obvious_entry_is_taken(tmp_path: Path) -> None:
    training = {"app": {"model": STATE, "optim": {"state": {"hidden.bias": {"m": torch.ones(2)}}, "param_groups": []}}}
    path = dcp_folder(tmp_path / "step-5", {**training, "step": 5})
    assert same(held(path))
    assert read_checkpoint(path).notes[0].startswith("took 'app.model' of the training dict")


def test_a_dcp_folder_is_read_into_the_models_own_memory(tmp_path: Path) -> None:
    model = nn.ModuleDict({"hidden": nn.Linear(3, 2)})
    place = model.get_parameter("hidden.weight").data_ptr()
    load_checkpoint(model, read_checkpoint(dcp_folder(tmp_path / "step-5", STATE)))
    assert same(dict(model.state_dict()))
    assert model.get_parameter("hidden.weight").data_ptr() == place


@pytest.mark.proves("Checkpoints", "torch DCP folder", "refusal")
def test_a_dcp_folder_whose_save_did_not_finish_is_refused(tmp_path: Path) -> None:
    (dcp_folder(tmp_path / "step-5", STATE) / ".metadata").unlink()
    with pytest.raises(CheckpointError, match=r"has .distcp files but no .metadata: the save did not finish"):
        read_checkpoint(tmp_path / "step-5")


def test_a_dcp_folder_without_one_of_its_files_is_refused(tmp_path: Path) -> None:
    path = dcp_folder(tmp_path / "step-5", STATE)
    for file in path.glob("*.distcp"):
        file.unlink()
    with pytest.raises(CheckpointError, match=r"step-5 cannot be read: .*; copy the whole folder"):
        held(path)


def test_code_in_the_metadata_of_a_dcp_folder_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = dcp_folder(tmp_path / "step-5", STATE)
    (path / ".metadata").write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(CheckpointError, match=r"asks for pathlib\S*write_text|asks for builtins.getattr"):
        read_checkpoint(path)
    assert not mark.exists()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint in the folder .*; give a file written by torch.save"):
        read_checkpoint(tmp_path)
