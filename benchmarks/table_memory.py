"""What huge pages are worth to lookups: random rows of tables that no cache holds, mapped and copied, in one run.

    python benchmarks/table_memory.py [--gib 2] [--seconds 10] [--folder /dev/shm]

Each way is measured in turn, several times, for the machine is not equally fast all the time. A time is that of the
embedding stage alone, as the engine counts it, on one instance. What mmap is worth depends on the kernel and the file
system, which may keep a file in large pages: the engine says so where it does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import big_artifact
import numpy as np

from recpile.runtime_cpp import Engine

CANDIDATES = 512
IDS = 8  # a bag
ROUNDS = 12


def nanoseconds_a_row(engine: Engine, rows: int, seconds: float) -> float:
    """Of the embedding stage, for batches of random ids."""
    random = np.random.default_rng(1)
    shape = big_artifact.TABLES * CANDIDATES * IDS
    lengths = np.full((big_artifact.TABLES, CANDIDATES), IDS)
    batches = [{"s.values": random.integers(0, rows, shape), "s.lengths": lengths} for _ in range(20)]

    def spent() -> tuple[float, int]:
        stats = engine.stats()
        return stats["stages"]["bags"]["sum"], sum(table["lookups"] for table in stats["tables"].values())

    before, end = spent(), time.monotonic() + seconds
    while time.monotonic() < end:
        for batch in batches:
            engine.infer(batch)
    after = spent()
    return 1e3 * (after[0] - before[0]) / (after[1] - before[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, nargs="+", default=[0.0625, 0.25, 2])
    parser.add_argument("--seconds", type=float, default=10, help="for each way and size")
    parser.add_argument("--folder", default=None, help="for the tables; /dev/shm is mapped in small pages everywhere")
    options = parser.parse_args()
    print(f"rows of {2 * big_artifact.DIM} bytes, {CANDIDATES * big_artifact.TABLES * IDS} random ones a batch")
    for gib in options.gib:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "tables.pt2"
            rows = big_artifact.write(path, gib, dense=False)
            engines = {way: Engine(path, instances=1, table_memory=way) for way in ("mmap", "hugepages")}
            rounds: dict[str, list[float]] = {way: [] for way in engines}
            for _ in range(ROUNDS):
                for way, engine in engines.items():
                    rounds[way].append(nanoseconds_a_row(engine, rows, options.seconds / ROUNDS))
            # The best of each: what else the machine does can only add to it.
            mapped, huge = (min(rounds[way]) for way in ("mmap", "hugepages"))
            auto = Engine(path, instances=1).table_memory
            ways = f"mmap {mapped:5.1f} ns a row, huge pages {huge:5.1f}"
            print(f"{gib:6.2f} GiB: {ways}: {mapped / huge:.2f} times as fast; auto: {auto}")
            for engine in engines.values():
                engine.stop()


if __name__ == "__main__":
    main()
