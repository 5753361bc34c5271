"""A checkpoint of any format, and a schema from anywhere, are the same model: both runtimes answer as it does in eager
PyTorch. One artifact is enough, as it holds the weights that each checkpoint must give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import zoo
from compiler.graphs import draw
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed._shard import sharded_tensor
from torch.distributed._shard.sharded_tensor import Shard, ShardMetadata

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.capture import build_inputs
from recpile.pycompiler.checkpoints.load import load_checkpoint
from recpile.pycompiler.checkpoints.mapping import CheckpointMapping
from recpile.pycompiler.checkpoints.read import read_checkpoint
from recpile.pycompiler.infer.schema import infer_schema
from recpile.pycompiler.schema import InputSchema
from recpile.pycompiler.schema_file import format_schema, parse_schema
from recpile.pycompiler.verify import VerifyOptions, verify

RUNTIMES = "numerics in both runtimes"
State = dict[str, Tensor]


def as_safetensors(folder: Path, state: State) -> Path:
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def as_dcp(folder: Path, state: State) -> Path:
    dcp.save({"model": state, "step": 7}, checkpoint_id=folder / "step-7", no_dist=True)
    return folder / "step-7"


def as_sharded_tables(folder: Path, state: State) -> Path:
    """As TorchRec's DistributedModelParallel names them: tables in shards, everything behind "module."."""

    def shards(table: Tensor) -> object:
        halves = [(table[:2], 0), (table[2:], 2)]
        parts = [Shard(t.clone(), ShardMetadata([row, 0], list(t.shape), "rank:0/cpu")) for t, row in halves]
        return sharded_tensor.init_from_local_shards(parts, *table.shape)

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        held = {f"module.{k}": shards(v) if "embedding_bags" in k else v for k, v in state.items()}
        torch.save(held, folder / "rank0.pt")
    finally:
        dist.destroy_process_group()
    return folder / "rank0.pt"


def renamed(folder: Path, state: State) -> Path:
    torch.save({name.replace("dlrm.", "net.inner.", 1): value for name, value in state.items()}, folder / "old.pt")
    (folder / "rules.yaml").write_text("- glob: net.inner.**\n  to: 'dlrm.{1}'\n")
    return folder / "old.pt"


def agree(tiny: Path, model: nn.Module, schema: InputSchema) -> None:
    flat = draw(zoo.tiny_dlrm()[1], 17)
    report = verify(Artifact(tiny), flat, (model.eval(), schema), VerifyOptions(tolerance=1e-5))
    assert report.ok, report.finding
    assert {"weights", "debug runtime", "C++ engine"} <= {step.name for step in report.steps}


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(save, marks=pytest.mark.proves("Checkpoints", construct, RUNTIMES))
        for save, construct in (
            (as_safetensors, "safetensors"),
            (as_dcp, "torch DCP folder"),
            (as_sharded_tables, "sharded TorchRec names"),
            (renamed, "rename rules and dry run"),
        )
    ],
)
@pytest.mark.slow
def test_a_checkpoint_of_any_format_is_the_model_of_both_runtimes(
    save: Callable[[Path, State], Path], tiny: Path, tmp_path: Path
) -> None:
    trained, schema = zoo.tiny_dlrm()
    other = zoo.TinyDLRM()
    with torch.no_grad():
        for weight in other.parameters():
            weight.fill_(0.25)
    path = save(tmp_path, trained.state_dict())
    rules = CheckpointMapping.load(tmp_path / "rules.yaml") if save is renamed else None
    load_checkpoint(other, read_checkpoint(path), rules)
    agree(tiny, other, schema)


@pytest.mark.parametrize(
    "schema_of",
    [
        pytest.param(
            lambda model, schema: parse_schema(format_schema(schema)),
            marks=pytest.mark.proves("Input schema", "YAML file", RUNTIMES),
        ),
        pytest.param(
            lambda model, schema: infer_schema(model, [build_inputs(schema, draw(schema, n)) for n in (3, 5)])[0],
            marks=pytest.mark.proves("Input schema", "inferred from examples", RUNTIMES),
        ),
    ],
    ids=["YAML", "inferred"],
)
@pytest.mark.slow
def test_a_schema_from_anywhere_is_that_of_both_runtimes(schema_of: Callable, tiny: Path) -> None:
    model, schema = zoo.tiny_dlrm()
    agree(tiny, model, schema_of(model, schema))
