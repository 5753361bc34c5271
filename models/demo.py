"""`make demo`: train on MovieLens-100K, export, serve from C++, and prove that all of them say the same."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from recpile.models.load import (
    Load,
    eager_one_by_one,
    requests_of_mixed_sizes,
    send_all,
    through_engine,
    use_faster_thread_count,
)
from recpile.models.train import CHECKPOINT, HELD_OUT
from recpile.models.train import main as train
from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.cli.entry import load_model
from recpile.pycompiler.cli.main import quiet_libraries
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.differences import FP32_TOLERANCE
from recpile.pycompiler.metrics import auc, normalized_entropy
from recpile.pycompiler.quality import EvalData
from recpile.pycompiler.server_process import ServerProcess

ENTRY = "recpile.models.dlrm:build"


@dataclass(frozen=True)
class Variant:
    """One artifact of the same checkpoint. `tolerance`: how far its scores may be from eager's."""

    name: str
    arguments: tuple[str, ...]
    tolerance: float


VARIANTS = (
    Variant("fp32", (), FP32_TOLERANCE),
    # Not a bound on the method but a tripwire: a swapped row or a wrong scale moves scores by far more.
    Variant("int8-bf16", ("--embedding-dtype", "int8", "--dense-dtype", "bf16"), 0.1),
)


@dataclass(frozen=True)
class Row:
    """One line of the last table: who answered, and how far from eager."""

    who: str
    scores: np.ndarray
    difference: float
    load: Load | None = None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--data", default="movielens", choices=("movielens", "synthetic"))
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for what the demo makes")
    parser.add_argument("--clients", type=int, default=4, help="requests under way at once (default 4)")
    parser.add_argument("--skip-training", action="store_true", help="use the checkpoint of an earlier run")
    options = parser.parse_args(argv)
    quiet_libraries()
    console = make_console()
    began = time.monotonic()

    if not options.skip_training:
        console.rule("train")
        code = train(["--data", options.data, "--out", str(options.out)])
        if code:
            return code
    checkpoint = options.out / CHECKPOINT
    missing = [one for one in (checkpoint, options.out / HELD_OUT) if not one.exists()]
    if missing:
        parser.error(f"--skip-training needs an earlier run's {missing[0]}, which is not there; run once without it")
    held_out = EvalData.load(options.out / HELD_OUT)
    rows, sizes, ok = _compare_all(console, options, checkpoint, held_out)

    console.rule("the same held-out rows through each")
    _print_table(console, rows, held_out.labels)
    for name, size in sizes.items():
        console.print(f"{size:>12,} bytes  {name}")
    console.print(f"demo {'passed' if ok else 'FAILED: scores differ too much'} in {time.monotonic() - began:.0f} s")
    return 0 if ok else 1


def _compare_all(
    console: Console, options: argparse.Namespace, checkpoint: Path, held_out: EvalData
) -> tuple[list[Row], dict[str, int], bool]:
    model, schema = load_model(ENTRY, str(checkpoint))
    requests = requests_of_mixed_sizes(schema, held_out)
    console.rule("eager PyTorch, one request after the other")
    threads = use_faster_thread_count(model, schema, requests)
    console.print(f"{threads} thread{'s' * (threads > 1)}, the faster choice here")
    eager_scores, eager_load = eager_one_by_one(model, schema, requests)
    rows = [Row("eager PyTorch fp32", eager_scores, 0.0, eager_load)]
    sizes = {"checkpoint": checkpoint.stat().st_size}
    ok = True
    for variant in VARIANTS:
        artifact = options.out / f"movielens-dlrm-{variant.name}.pt2"
        console.rule(f"export {variant.name}")
        _export(artifact, checkpoint, options.out / HELD_OUT, variant)
        sizes[f"artifact {variant.name}"] = artifact.stat().st_size
        sizes[f"tables in artifact {variant.name}"] = _table_bytes(artifact)
        runtime = DebugRuntime(artifact)
        debug = np.concatenate([runtime.run(flat)["score"].numpy() for flat in requests])
        console.rule(f"serve {variant.name} from C++")
        with ServerProcess(artifact, log=options.out / f"server-{variant.name}.log") as server:
            console.print(f"recpile-server on {server.url}; {len(requests)} requests, {options.clients} at once")
            served, server_load = send_all(server.url, server.model, requests, options.clients)
        in_process, engine_load = through_engine(artifact, requests, options.clients)
        for who, scores, measured in (
            (f"debug runtime {variant.name}", debug, None),
            (f"C++ server {variant.name}", served, server_load),
            (f"C++ engine {variant.name}", in_process, engine_load),
        ):
            difference = float(np.abs(scores - eager_scores).max())
            # Written so that NaN fails too.
            ok = ok and difference <= variant.tolerance
            rows.append(Row(who, scores, difference, measured))
    return rows, sizes, ok


def _export(artifact: Path, checkpoint: Path, held_out: Path, variant: Variant) -> None:
    command = ["export", ENTRY, "--checkpoint", str(checkpoint), "--output", str(artifact)]
    command += ["--name", "movielens-dlrm", "--eval-data", str(held_out), *variant.arguments]
    print("recpile " + " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", "recpile.pycompiler.cli.main", *command], check=True)


def _table_bytes(artifact: Path) -> int:
    return sum(t["rows"] * t["row_bytes"] for t in DebugRuntime(artifact).manifest["tables"])


def _print_table(console: Console, rows: list[Row], labels: np.ndarray) -> None:
    table = Table(title_justify="left")
    table.add_column("who answers", no_wrap=True)
    for column in ("AUC", "NE", "max diff", "req/s", "rows/s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        quality = [f"{auc(labels, row.scores):.5f}", f"{normalized_entropy(labels, row.scores):.5f}"]
        load = row.load
        speed = ["", "", "", ""]
        if load is not None:
            speed = [f"{load.requests_per_second:,.0f}", f"{load.samples_per_second:,.0f}"]
            speed += [f"{load.percentile_ms(50):.2f}", f"{load.percentile_ms(99):.2f}"]
        table.add_row(row.who, *quality, f"{row.difference:.1e}", *speed)
    console.print(table)
    console.print(
        "max diff: the largest absolute difference from eager fp32. Times as a client sees them: of the server, over"
    )
    console.print(
        "HTTP with the public Python client, whose own work is in them; of eager and of the engine, in process."
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
