"""Reading checkpoints: each format, which part of a training dict is taken, and that nothing in a file is executed."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
from torch.distributed._shard.sharding_spec import ShardMetadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard as ShardedOn
from torch.distributed.tensor import distribute_tensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise, table_wise
from torchrec.distributed.types import ModuleSharder, ShardingPlan
from zoo import collection

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.load import load_checkpoint
from recpile.pycompiler.checkpoints.read import checkpoint_bytes, read_checkpoint

STATE = {"hidden.weight": torch.arange(6.0).reshape(2, 3), "hidden.bias": torch.tensor([1.0, 2.0])}


def saved(path: Path, what: object) -> Path:
    torch.save(what, path)
    return path


def held(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Everything in a checkpoint, read."""
    weights = read_checkpoint(path, key)
    return weights.read({name: torch.zeros(spec.shape, dtype=spec.dtype) for name, spec in weights.specs.items()})


def same(got: dict[str, Tensor], wanted: dict[str, Tensor] = STATE) -> bool:
    return list(got) == list(wanted) and all(torch.equal(got[name], wanted[name]) for name in wanted)


@pytest.fixture
def one_rank() -> Iterator[None]:
    """A process group of this process alone, to save with."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


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


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "executed")


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


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"model.safetensors is not a readable safetensors file: \S"):
        read_checkpoint(path)


def dcp_folder(folder: Path, state: dict) -> Path:
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


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


def shard(tensor: Tensor, offset: list[int]) -> Shard:
    return Shard(tensor.clone(), ShardMetadata(offset, list(tensor.shape), "rank:0/cpu"))


def test_a_sharded_tensor_is_put_together_without_a_process_group(tmp_path: Path, one_rank: None) -> None:
    table = torch.arange(8.0).reshape(2, 4)
    columns = [shard(table[:, :1], [0, 0]), shard(table[:, 1:], [0, 1])]
    path = saved(tmp_path / "rank0.pt", {"table": sharded_tensor.init_from_local_shards(columns, 2, 4)})
    dist.destroy_process_group()
    assert same(held(path), {"table": table})


def test_a_file_with_one_ranks_part_of_a_sharded_tensor_is_refused(tmp_path: Path, one_rank: None) -> None:
    rows = [shard(torch.ones(2, 4), [0, 0]), shard(torch.ones(1, 4), [2, 0])]
    table = sharded_tensor.init_from_local_shards(rows, 3, 4)
    part = ShardedTensor._init_from_local_shards_and_global_metadata(rows, table.metadata())
    part._local_shards = rows[:1]  # what the first of two ranks holds
    path = saved(tmp_path / "rank0.pt", {"table": part})
    with pytest.raises(
        CheckpointError, match=r"'table' is 8 of the 12 elements of a sharded tensor.*Save all ranks with"
    ):
        read_checkpoint(path)


def test_a_dtensor_of_one_rank_is_read(tmp_path: Path, one_rank: None) -> None:
    mesh = init_device_mesh("cpu", (1,))
    tensors = {name: distribute_tensor(value, mesh, [ShardedOn(0)]) for name, value in STATE.items()}
    path = saved(tmp_path / "rank0.pt", tensors)
    dist.destroy_process_group()
    assert same(held(path))


RANK = """
import sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
state = {
    "rows": distribute_tensor(torch.arange(10.0).reshape(5, 2), mesh, [Shard(0)]),
    "columns": distribute_tensor(torch.arange(12.0).reshape(3, 4), mesh, [Shard(1)]),
    "bias": torch.tensor([1.0, 2.0]),
}
torch.save(state, f"{folder}/rank{rank}.pt")
dcp.save({"model": state, "step": 7}, checkpoint_id=f"{folder}/step-7")
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_what_two_ranks_saved_is_put_together_and_the_file_of_one_is_refused(tmp_path: Path) -> None:
    ranks = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", RANK, str(r), str(tmp_path)]) for r in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    got = held(tmp_path / "step-7")
    assert torch.equal(got["rows"], torch.arange(10.0).reshape(5, 2))
    assert torch.equal(got["columns"], torch.arange(12.0).reshape(3, 4))
    assert got["bias"].tolist() == [1, 2]
    with pytest.raises(CheckpointError, match=r"'rows' is a DTensor over 2 ranks: the file is that of one rank. Save"):
        read_checkpoint(tmp_path / "rank0.pt")


class Ranker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = collection(("item", 5, 4, ["f0"]), ("user", 3, 4, ["f1"]))
        self.out = nn.Linear(8, 1)

    def forward(self, sparse):
        return self.out(self.bags(sparse).values())


@pytest.mark.parametrize("how", ["torch.save", "dcp.save"])
def test_what_torchrec_sharded_comes_back_unsharded(tmp_path: Path, one_rank: None, how: str) -> None:
    trained, model = Ranker(), Ranker()
    how_sharded = {"item": row_wise(), "user": table_wise(rank=0)}
    plan = construct_module_sharding_plan(
        trained.bags,
        how_sharded,
        sharder=cast(ModuleSharder[nn.Module], EmbeddingBagCollectionSharder()),
        local_size=1,
        world_size=1,
        device_type="cpu",
    )
    sharded = DistributedModelParallel(trained, device=torch.device("cpu"), plan=ShardingPlan({"bags": plan}))
    state = sharded.state_dict()
    assert sum(isinstance(value, ShardedTensor) for value in state.values()) == 2
    # One rank holds all rows of a table. (DistributedModelParallel draws them anew.)
    wanted = {
        name: (value.local_shards()[0].tensor if isinstance(value, ShardedTensor) else value).detach().clone()
        for name, value in state.items()
    }
    if how == "torch.save":
        path = saved(tmp_path / "rank0.pt", state)
    else:
        path = tmp_path / "step-5"
        dcp.save(state, checkpoint_id=path)
    dist.destroy_process_group()
    load_checkpoint(model, read_checkpoint(path))
    got = model.state_dict()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
