"""What it is worth to compute a request's side once (HoistRequestSide).

    python benchmarks/request_side.py            prints the rows
    python benchmarks/request_side.py --docs docs/fusions.md     renews the rows in the table there

A column is a batch: so many requests of so many candidates each, through a compiled stage; what the model makes of the
user runs for every candidate without the pass, and once a request with it. Cells are as in benchmarks/fusions.py, and
so is the exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from fusions import DTYPES, arguments, report
from request_columns import BATCHES, compiled, timed
from torch import Tensor, nn

from recpile.passes.base import run_passes
from recpile.passes.hoist_request_side import HoistRequestSide
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.capture import capture
from recpile.pycompiler.schema import Dense, InputSchema

WIDTH = 64


class Ranker(nn.Module):
    """Scores an item against what `side` makes of the user, [B, 64] each."""

    def __init__(self, side: nn.Module) -> None:
        super().__init__()
        self.side, self.hidden, self.out = side, nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        both = torch.cat([self.side(user), item], dim=1)
        return torch.sigmoid(self.out(torch.relu(self.hidden(both)))).squeeze(1)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)

    def forward(self, history: Tensor) -> Tensor:
        return self.layer(history).mean(dim=1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, history: Tensor) -> Tensor:
        return self.layer(history)[0][:, -1]


def tower() -> nn.Module:
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, WIDTH))


@dataclass(frozen=True)
class Side:
    name: str
    model: Callable[[], nn.Module]
    user: tuple[int, ...]  # the sizes of a request's row


SIDES = (
    Side("tower 256-256-128-64", tower, (256,)),
    Side("encoder layer over 50 x 64", Encoder, (50, WIDTH)),
    Side("GRU over 20 x 64", Recurrent, (20, WIDTH)),
)


def measure(side: Side, dtype: str, folder: str) -> tuple[str, bool]:
    """The row, and whether a batch is slower with the pass."""
    torch.manual_seed(0)
    inputs = (Dense("user", side.user, axis="request"), Dense("item", (WIDTH,)))
    captured = capture(Ranker(side.model()).eval(), InputSchema(inputs), "ranker")
    first = [RemoveIdentities(), RemoveNoOps()]
    whole, once = (
        compiled(run_passes(captured, [*first, *hoist, SplitStages()]), dtype, folder)
        for hoist in ([], [HoistRequestSide()])
    )
    cells = timed(whole, once, side.user, WIDTH)
    row = " | ".join([f"| {side.name}", dtype, *map(str, cells.values())]) + " |"
    return row, any(cell.slower for cell in cells.values())


def main() -> int:
    options = arguments(__doc__).parse_args()
    columns = ["request side", "type", *(f"{requests} x {each}" for requests, each in BATCHES)]
    return report(options.docs, columns, lambda folder: (measure(one, t, folder) for one in SIDES for t in DTYPES))


if __name__ == "__main__":
    sys.exit(main())
