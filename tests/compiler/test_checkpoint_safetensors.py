"""Safetensors: one file, or several by their index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from compiler.checkpoint_files import STATE, held, same, saved
from safetensors.torch import save_file, save_model
from torch import nn

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.load import load_checkpoint
from recpile.pycompiler.checkpoints.read import checkpoint_bytes, read_checkpoint


@pytest.mark.proves("Checkpoints", "safetensors", "graph")
def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    assert same({name: held(tmp_path / "model.safetensors")[name] for name in STATE})
    assert same({name: held(tmp_path)[name] for name in STATE})


def test_a_model_with_tied_weights_comes_back_from_safetensors(tmp_path: Path) -> None:
    """save_model writes a tied weight once."""

    def tied() -> nn.Sequential:
        first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        second.weight = first.weight
        return nn.Sequential(first, second)

    trained, model = tied(), tied()
    save_model(trained, str(tmp_path / "model.safetensors"))
    found = load_checkpoint(model, read_checkpoint(tmp_path / "model.safetensors"))
    assert len(found.tied) == 1
    assert same(dict(model.state_dict()), dict(trained.state_dict()))


def sharded_safetensors(folder: Path) -> Path:
    for number, name in enumerate(STATE, 1):
        save_file({name: STATE[name]}, folder / f"model-{number}-of-2.safetensors")
    weight_map = {name: f"model-{number}-of-2.safetensors" for number, name in enumerate(STATE, 1)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_sharded_safetensors_are_read_by_their_index_or_their_folder(tmp_path: Path) -> None:
    index = sharded_safetensors(tmp_path)
    assert same(held(index))
    assert same(held(tmp_path))
    assert checkpoint_bytes(index) == sum(one.stat().st_size for one in tmp_path.iterdir())


def test_a_shard_that_is_absent_is_named(tmp_path: Path) -> None:
    index = sharded_safetensors(tmp_path)
    (tmp_path / "model-2-of-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"index.json names .*model-2-of-2.safetensors, which is not there; copy"):
        read_checkpoint(index)


def test_a_shard_without_a_weight_of_the_index_is_named(tmp_path: Path) -> None:
    index = sharded_safetensors(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "model-2-of-2.safetensors")
    with pytest.raises(
        CheckpointError, match=r"model-2-of-2.safetensors does not hold 'hidden.bias', which .*index.json"
    ):
        read_checkpoint(index)


def test_files_of_torch_save_may_be_indexed_too(tmp_path: Path) -> None:
    saved(tmp_path / "part-1.bin", STATE)
    (tmp_path / "model.bin.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(STATE, "part-1.bin")}))
    assert same(held(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"is not an index of weights \('weight_map'\); it holds"),
        ("[1]", "is not an index of weights"),
        ("{", "is not an index of weights"),
        (
            '{"weight_map": {"a": "../secret.safetensors"}}',
            "names the file '../secret.safetensors'; its files lie beside",
        ),
    ],
)
def test_what_is_not_an_index_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "model.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "model.index.json")


@pytest.mark.proves("Checkpoints", "safetensors", "refusal")
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"model.safetensors is not a readable safetensors file: \S"):
        read_checkpoint(path)
