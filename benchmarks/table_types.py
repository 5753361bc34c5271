"""`make bench-tables`: what a lookup costs in time, by the type of its rows: 26 tables of 128 columns, one id each.

A time is that of the embedding stage alone, as the engine counts it, on one instance. The types take turns, and the
best of many rounds counts: what else the machine does can only add to it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import handmade
from handmade import Rows, keyed, lookup, output
from page import renew_table

from recpile.pycompiler.packing import TABLE_DTYPES, pack
from recpile.runtime_cpp import Engine

TABLES, DIM, BATCH = 26, 128, 512
ROUNDS = 8
# Name -> the types of the tables, by turns, and what the lookup gives.
CASES = {dtype: ([dtype], "fp32") for dtype in TABLE_DTYPES} | {
    "`int8` and `bf16` by turns": (["int8", "bf16"], "fp32"),
    "`int8`, giving bf16": (["int8"], "bf16"),
    "`bf16`, giving bf16": (["bf16"], "bf16"),
}


def write(path: Path, types: list[str], gives: str, rows: int) -> Path:
    """A model that is one lookup. The tables of one artifact all hold the same rows."""
    packed = {one: pack(torch.randn(rows, DIM), one, search=False) for one in types}
    tables = {f"t{i:02}": Rows(packed[types[i % len(types)]], types[i % len(types)], DIM) for i in range(TABLES)}
    stage = lookup(
        "look", "sum", [{"values": "s.values", "lengths": "s.lengths"}], [(0, i, name) for i, name in enumerate(tables)]
    )
    stage["outputs"][0]["dtype"] = gives
    outputs = [output("out", "look/out", ["candidate", TABLES * DIM]) | {"dtype": gives}]
    return handmade.write(path, [keyed("s", list(tables))], [stage], outputs, tables)


def microseconds(engine: Engine, batches: list[dict], seconds: float) -> float:
    """Of the embedding stage, a batch."""

    def spent() -> tuple[float, int]:
        stats = engine.stats()
        return stats["stages"]["look"]["sum"], stats["batches"]

    before, end = spent(), time.monotonic() + seconds
    while time.monotonic() < end:
        for batch in batches:
            engine.infer(batch)
    after = spent()
    return (after[0] - before[0]) / (after[1] - before[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 20_000], help="of each table")
    parser.add_argument("--seconds", type=float, default=3, help="for each case and number of rows")
    parser.add_argument("--docs", type=Path, help="write the table into this file")
    options = parser.parse_args()
    found: dict[str, list[str]] = {name: [] for name in CASES}
    for rows in options.rows:
        random = np.random.default_rng(1)
        lengths = np.ones((TABLES, BATCH), np.int64)
        batches = [{"s.values": random.integers(0, rows, TABLES * BATCH), "s.lengths": lengths} for _ in range(10)]
        with tempfile.TemporaryDirectory() as folder:
            paths = [write(Path(folder) / f"{i}.pt2", *case, rows) for i, case in enumerate(CASES.values())]
            engines = {name: Engine(path, instances=1) for name, path in zip(CASES, paths, strict=True)}
            rounds: dict[str, list[float]] = {name: [] for name in engines}
            for _ in range(ROUNDS):
                for name, engine in engines.items():
                    rounds[name].append(microseconds(engine, batches, options.seconds / ROUNDS))
            for name, engine in engines.items():
                engine.stop()
                found[name].append(f"{min(rounds[name]):,.0f} us")
    heads = " | ".join(f"{rows:,} a table" for rows in options.rows)
    lines = [f"| rows | {heads} |", "|---" + "|---:" * len(options.rows) + "|"]
    lines += [f"| {name if '`' in name else f'`{name}`'} | {' | '.join(times)} |" for name, times in found.items()]
    print("\n".join(lines))
    if options.docs:
        renew_table(options.docs, "table types", lines)


if __name__ == "__main__":
    main()
