"""An artifact of tables of any size and one dense layer, for what depends on nothing but the size of the tables."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import handmade
from handmade import Rows, keyed, lookup, output

GIB = 1 << 30
DIM = 64
TABLES = 8


class Top(nn.Module):
    """[B, 512] -> [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(TABLES * DIM, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        return torch.sigmoid(self.layer(pooled)).squeeze(1)


def write(path: Path, gib: float, dense: bool = True) -> int:
    """Eight tables of `gib` altogether, fp16, 128 bytes a row, each with a feature, and, if `dense`, a layer over all.

    Returns a table's rows.
    """
    torch.manual_seed(0)
    rows = int(gib * GIB) // TABLES // (2 * DIM)
    # One table's bytes serve for all: what they are does not matter, that each lies elsewhere does.
    table = Rows.of(torch.randn(4096, DIM), "fp16")
    table = Rows(table.packed.repeat(-(-rows // 4096), 1)[:rows], "fp16", DIM)
    names = [f"t{i}" for i in range(TABLES)]
    source = {"values": "s.values", "lengths": "s.lengths"}
    stages = [lookup("bags", "sum", [source], [(0, i, name) for i, name in enumerate(names)])]
    outputs, code = [output("pooled", "bags/out", ["candidate", TABLES * DIM])], []
    if dense:
        code = [handmade.code("top", Top(), (torch.ones(3, TABLES * DIM),), ({0: Dim("batch", min=2)},))]
        stages.append(handmade.compiled("top", ["bags/out"], ["score"]))
        outputs = [output("score", "top/score", ["candidate"])]
    handmade.write(path, [keyed("s", names)], stages, outputs, dict.fromkeys(names, table), code)
    return rows
