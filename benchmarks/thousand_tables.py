"""How long a model of very many tables takes to export, how much memory that needs, and how many calls are left.

    python benchmarks/thousand_tables.py [--tables 1000] [--variant collection|embeddings|both]

Two variants, each in a process of its own, as memory is that of the process: one EmbeddingBagCollection over one KJT,
and as many nn.Embedding modules over the columns of one tensor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged

ROWS, DIM = 1000, 16
GIB = 1 << 30


class Collection(nn.Module):
    """Every table in one EmbeddingBagCollection; a multilayer perceptron over all of it."""

    def __init__(self, tables: int) -> None:
        super().__init__()
        self.bags = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(name=f"t{i}", num_embeddings=ROWS, embedding_dim=DIM, feature_names=[f"f{i}"])
                for i in range(tables)
            ]
        )
        self.over = _over(tables)

    def forward(self, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.sigmoid(self.over(self.bags(sparse).values())).squeeze(1)


class Embeddings(nn.Module):
    """Every table an nn.Embedding of its own, over one column of the ids."""

    def __init__(self, tables: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ROWS, DIM) for _ in range(tables))
        self.over = _over(tables)

    def forward(self, ids: Tensor) -> Tensor:
        rows = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        return torch.sigmoid(self.over(torch.cat(rows, dim=1))).squeeze(1)


def _over(tables: int) -> nn.Module:
    return nn.Sequential(nn.Linear(tables * DIM, 64), nn.ReLU(), nn.Linear(64, 1))


def build(variant: str, tables: int) -> tuple[nn.Module, InputSchema]:
    torch.manual_seed(0)
    if variant == "collection":
        return Collection(tables).eval(), InputSchema([KeyedJagged("sparse", [f"f{i}" for i in range(tables)])])
    return Embeddings(tables).eval(), InputSchema([Dense("ids", (tables,), torch.int64)])


def measure(variant: str, tables: int) -> None:
    model, schema = build(variant, tables)
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    began = last = _clocks()
    steps: list[tuple[str, float, float]] = []
    name = "start"

    def progress(step: str) -> None:
        nonlocal last, name
        now = _clocks()
        steps.append((name, now[0] - last[0], now[1] - last[1]))
        name, last = step, now

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{variant}.pt2"
        made = compile_model(model, schema, path, CompileOptions(variant), progress)
        progress("end")
        size = path.stat().st_size
    print("    seconds, and of those on a core:")
    for step, seconds, on_core in steps:
        if seconds >= 1:
            print(f"    {seconds:6.1f} {on_core:6.1f}  {step}")
    calls = sum(stage.kind == "embedding" for stage in made.program.stages)
    print(
        f"{variant}: {tables} tables in {calls} lookup call{'s' * (calls != 1)}, exported in "
        f"{last[0] - began[0]:.1f} s ({last[1] - began[1]:.1f} s on a core), peak memory {_peak() / GIB:.2f} GiB, "
        f"of which weights {weights / GIB:.2f} GiB; artifact {size / GIB:.2f} GiB; "
        f"largest difference {made.parity.max:.1e}"
    )


def _clocks() -> tuple[float, float]:
    """Seconds on the wall, and seconds that this process and those it started (compilers) have had a core."""
    spent = os.times()
    return time.perf_counter(), spent.user + spent.system + spent.children_user + spent.children_system


def _peak() -> int:
    """Bytes of memory that this process has held at most, by the kernel's count."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--variant", choices=("collection", "embeddings", "both"), default="both")
    options = parser.parse_args()
    if options.variant != "both":
        measure(options.variant, options.tables)
        return
    for variant in ("collection", "embeddings"):
        again = [sys.executable, __file__, "--tables", str(options.tables), "--variant", variant]
        subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
