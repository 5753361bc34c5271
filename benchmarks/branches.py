"""What it is worth to make branches stages of their own: two towers as one stage, and as stages beside each other.

Prints a table: the time of a request that comes alone, and requests a second when four clients never pause. Both sides
run in one process in turn, on two instances; figures are medians, and ratios above 1 mean that branches are faster. A
minute of compiling, then some twenty seconds, in which the machine should do nothing else.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recpile.passes import branches
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.schema import Dense, InputSchema
from recpile.runtime_cpp import Engine

WIDTHS, TYPES, ROWS = (256, 512, 1024), ("fp32", "bf16"), (1, 16, 128)
ALONE_ROUNDS, SATURATED_SECONDS, CLIENTS = 40, 0.4, 4


class Towers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.user, self.item = _mlp(64, width, width, 16), _mlp(48, width, width, 32, 16)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return torch.sigmoid((self.user(user) * self.item(item)).sum(1))


def _mlp(*sizes: int) -> nn.Sequential:
    return nn.Sequential(
        *(part for i, o in itertools.pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())),
    )


def compiled(width: int, dtype: str, worth: int, folder: str) -> Engine:
    branches.WORTH_FLOPS = worth  # 1: always; very many: never
    torch.manual_seed(0)
    schema = InputSchema((Dense("user", (64,)), Dense("item", (48,))), ("score",))
    path = Path(folder) / f"{width}-{dtype}-{worth}.pt2"
    compile_model(Towers(width).eval(), schema, path, CompileOptions("towers", dense_dtype=dtype))
    return Engine(str(path), instances=2)


def alone(engines: list[Engine], request: dict[str, np.ndarray]) -> list[float]:
    """Seconds, for each engine."""
    taken: list[list[float]] = [[] for _ in engines]
    for _ in range(ALONE_ROUNDS):
        for engine, times in zip(engines, taken, strict=True):
            engine.infer(request)
            start = time.perf_counter()
            engine.infer(request)
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def saturated(engine: Engine, request: dict[str, np.ndarray]) -> float:
    """Requests a second."""
    counts = [0] * CLIENTS
    end = time.perf_counter() + SATURATED_SECONDS

    def ask(client: int) -> None:
        while time.perf_counter() < end:
            engine.infer(request)
            counts[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SATURATED_SECONDS


def main() -> None:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(w, t, [compiled(w, t, worth, folder) for worth in (10**12, 1)]) for w in WIDTHS for t in TYPES]
        print("| towers | rows | alone: one stage | branches | | saturated: one stage | branches | |")
        print("|---|---|---|---|---|---|---|---|")
        for width, dtype, engines in pairs:
            for rows in ROWS:
                request = {
                    "user": random.standard_normal((rows, 64), dtype=np.float32),
                    "item": random.standard_normal((rows, 48), dtype=np.float32),
                }
                one, split = (1e6 * seconds for seconds in alone(engines, request))
                many, many_split = (saturated(engine, request) for engine in engines)
                print(
                    f"| {width} wide, {dtype} | {rows} | {one:.0f} us | {split:.0f} us | **{one / split:.2f}** "
                    f"| {many:,.0f} req/s | {many_split:,.0f} req/s | **{many_split / many:.2f}** |"
                )
        for _, _, engines in pairs:
            for engine in engines:
                engine.stop()


if __name__ == "__main__":
    main()
