"""What it is worth to cut the first layer into the request's columns and the candidate's (SplitRequestColumns).

    python benchmarks/request_columns.py            prints the rows
    python benchmarks/request_columns.py --docs docs/fusions.md     renews the rows in the table there

A column is a batch: so many requests of so many candidates each, through a compiled stage. The model is exported for
requests of that many candidates, so that the pass declines as it would for the user ("declined"; its ratio is that of
the layer cut all the same). Cells are as in benchmarks/fusions.py, and so is the exit code.
"""

from __future__ import annotations

import sys
import tempfile

import torch
from fusions import DTYPES, LOADS, Cell, Run, arguments, loaded_in_turn, measured, report
from torch import Tensor, nn
from torch._inductor.package import package_aoti

from recpile.passes.base import run_passes
from recpile.passes.cast_dense import CastDense
from recpile.passes.hoist_request_side import HoistRequestSide
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.passes.split_request_columns import SplitRequestColumns
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.capture import capture
from recpile.pycompiler.lower import lower
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST, Dense, InputSchema

# (columns of the request, of the candidate, the first layer's outputs)
WIDTHS = ((64, 64, 128), (384, 128, 512), (768, 256, 512))
BATCHES = ((1, 1), (16, 1), (1, 16), (8, 16), (1, 200), (1, 1000))  # (requests, candidates of each)
ALWAYS, NEVER = 10**9, 1  # candidates for which the pass always, or never, cuts a layer
Compiled = tuple[str, tuple[str, ...]]  # the path of a compiled stage, and the names of what it takes


class Ranker(nn.Module):
    def __init__(self, user: int, item: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(user + item, hidden), nn.Linear(hidden, 128), nn.Linear(128, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        hidden = torch.relu(self.first(torch.cat([user, item], dim=1)))
        return torch.sigmoid(self.out(torch.relu(self.second(hidden)))).squeeze(1)


def program(widths: tuple[int, int, int], dtype: str, candidates: int) -> Program:
    torch.manual_seed(0)
    user, item, _ = widths
    inputs = (Dense("user", (user,), axis="request"), Dense("item", (item,)))
    captured = capture(Ranker(*widths).eval(), InputSchema(inputs, candidates=candidates), "ranker")
    return run_passes(
        captured, [RemoveIdentities(), RemoveNoOps(), HoistRequestSide(), SplitRequestColumns(dtype), SplitStages()]
    )


def is_cut(made: Program) -> bool:
    return any(note.did for note in made.log if note.pass_name == "SplitRequestColumns")


def compiled(made: Program, dtype: str, folder: str) -> Compiled:
    (stage,) = run_passes(made, [CastDense(dtype)]).stages
    with tempfile.NamedTemporaryFile(suffix=".pt2", dir=folder, delete=False) as file:
        path = file.name
    package_aoti(path, list(lower(stage).files))
    return path, stage.inputs


def timed(whole: Compiled, once: Compiled, user: tuple[int, ...], item: int) -> dict[tuple[int, int], Cell]:
    """A cell for each batch, of the model without the pass and with it. user, item: sizes of a row of each."""
    cells = {batch: Cell([]) for batch in BATCHES}
    for i in range(LOADS):
        plain, fused, again = loaded_in_turn(i, whole[0], once[0], whole[0])
        runs = by_name(plain, whole[1]), by_name(fused, once[1]), by_name(again, whole[1])
        for requests, candidates in BATCHES:
            map_ = torch.arange(requests).repeat_interleave(candidates)
            given = [torch.randn(requests, *user), torch.randn(len(map_), item), map_]
            cells[requests, candidates].rounds.extend(measured(runs, *given))
    return cells


def by_name(run: Run, names: tuple[str, ...]) -> Run:
    """`run`, given user, item and the map in this order, whatever its own is."""
    order = [("user", "item", CANDIDATE_TO_REQUEST).index(name) for name in names]
    return lambda given: run([given[i] for i in order])


def measure(widths: tuple[int, int, int], dtype: str, folder: str) -> tuple[str, bool]:
    """The row, and whether a layer that the pass cuts is slower."""
    user, item, hidden = widths
    whole, cut = (compiled(program(widths, dtype, candidates), dtype, folder) for candidates in (NEVER, ALWAYS))
    cells = timed(whole, cut, (user,), item)
    cuts = {batch: is_cut(program(widths, dtype, batch[1])) for batch in BATCHES}
    shown = [str(cell) + ("" if cuts[batch] else ", declined") for batch, cell in cells.items()]
    row = " | ".join([f"| {user} + {item} to {hidden}", dtype, *shown]) + " |"
    return row, any(cuts[batch] and cell.slower for batch, cell in cells.items())


def main() -> int:
    options = arguments(__doc__).parse_args()
    columns = ["columns", "type", *(f"{requests} x {each}" for requests, each in BATCHES)]
    return report(options.docs, columns, lambda folder: (measure(one, t, folder) for one in WIDTHS for t in DTYPES))


if __name__ == "__main__":
    sys.exit(main())
