"""What it is worth to cut the first layer into the request's columns and the candidate's (SplitRequestColumns).

Prints a table: the time of one request of so many candidates, with the layer whole and cut. Both run in one process in
turn; figures are medians, and a ratio above 1 means that the cut layer is faster.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recpile.passes import split_request_columns
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.schema import Dense, InputSchema
from recpile.runtime_cpp import Engine

USER, ITEM, CANDIDATES, ROUNDS = 384, 128, (1, 16, 200, 1000), 60


class Ranker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(USER + ITEM, 512), nn.Linear(512, 128), nn.Linear(128, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        hidden = torch.relu(self.first(torch.cat([user, item], dim=1)))
        return torch.sigmoid(self.out(torch.relu(self.second(hidden)))).squeeze(1)


def compiled(dtype: str, worth: int, folder: str) -> Engine:
    split_request_columns.WORTH = worth  # very many: never
    torch.manual_seed(0)
    schema = InputSchema((Dense("user", (USER,), axis="request"), Dense("item", (ITEM,))), ("score",))
    path = Path(folder) / f"{dtype}-{worth}.pt2"
    compile_model(Ranker().eval(), schema, path, CompileOptions("ranker", dense_dtype=dtype))
    return Engine(str(path), instances=1)


def main() -> None:
    random = np.random.default_rng(0)
    print("| type | candidates | whole | cut | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("fp32", "bf16"):
            engines = [compiled(dtype, worth, folder) for worth in (10**9, 1)]
            for candidates in CANDIDATES:
                request = {
                    "user": random.standard_normal((1, USER), dtype=np.float32),
                    "item": random.standard_normal((candidates, ITEM), dtype=np.float32),
                }
                taken: list[list[float]] = [[], []]
                for _ in range(ROUNDS):
                    for engine, times in zip(engines, taken, strict=True):
                        engine.infer(request)
                        start = time.perf_counter()
                        engine.infer(request)
                        times.append(time.perf_counter() - start)
                whole, cut = (1e6 * statistics.median(times) for times in taken)
                print(f"| {dtype} | {candidates} | {whole:.0f} us | {cut:.0f} us | **{whole / cut:.2f}** |")
            for engine in engines:
                engine.stop()


if __name__ == "__main__":
    main()
