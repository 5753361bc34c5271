"""Sharded tensors: put together without the process group that saved them, or refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from compiler.checkpoint_files import STATE, held, same, saved
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
from recpile.pycompiler.checkpoints.read import read_checkpoint


@pytest.fixture
def one_rank() -> Iterator[None]:
    """A process group of this process alone, to save with."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(tensor: Tensor, offset: list[int]) -> Shard:
    return Shard(tensor.clone(), ShardMetadata(offset, list(tensor.shape), "rank:0/cpu"))


def test_a_sharded_tensor_is_put_together_without_a_process_group(tmp_path: Path, one_rank: None) -> None:
    table = torch.arange(8.0).reshape(2, 4)
    columns = [shard(table[:, :1], [0, 0]), shard(table[:, 1:], [0, 1])]
    path = saved(tmp_path / "rank0.pt", {"table": sharded_tensor.init_from_local_shards(columns, 2, 4)})
    dist.destroy_process_group()
    assert same(held(path), {"table": table})


@pytest.mark.proves("Checkpoints", "sharded TorchRec names", "refusal")
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


@pytest.mark.proves("Checkpoints", "sharded TorchRec names", "graph")
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
