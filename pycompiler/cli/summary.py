"""What an artifact holds, as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.inspection import words
from recpile.pycompiler.inspection.lookup_cost import lookup_cost


def print_summary(console: Console, artifact: Artifact, checkpoint_bytes: int | None = None) -> None:
    manifest = artifact.manifest
    stages = Table(
        title=f"stages of {manifest['model']['name']} version {manifest['model']['version']}", title_justify="left"
    )
    for column in ("stage", "kind", "on", "type", "takes", "gives"):
        stages.add_column(column, overflow="fold")
    for stage in manifest["stages"]:
        if stage["kind"] == "compiled":
            kind = words.precision(stage)
        else:
            kind = f"{words.count(len({f['table'] for f in stage['features']}), 'table')}, {stage['pooling']}"
        given = ", ".join(f"{one['name']} {words.shape(one)}" for one in stage["outputs"])
        device = stage.get("placement", {}).get("device", "cpu")
        stages.add_row(stage["name"], stage["kind"], device, kind, ", ".join(stage["inputs"]), given)
    console.print(stages)
    _print_costs(console, manifest)

    tables = Table(title="tables", title_justify="left")
    tables.add_column("table")
    for column in ("rows", "dim", "type", "bytes", "of fp32", "bytes an id", "mean error", "max error"):
        tables.add_column(column, justify="right")
    reads = {
        read.table["name"]: read.bytes_per_id
        for stage in manifest["stages"]
        if stage["kind"] == "embedding"
        for read in lookup_cost(manifest, stage).tables
    }
    for table in manifest["tables"]:
        size, plain = table["rows"] * table["row_bytes"], table["rows"] * table["dim"] * 4
        error = table["error"]
        tables.add_row(
            table["name"],
            f"{table['rows']:,}",
            str(table["dim"]),
            table["dtype"],
            f"{size:,}",
            f"{size / plain:.0%}",
            str(reads.get(table["name"], "")),
            f"{error['mean']:.2g}",
            f"{error['max']:.2g}",
        )
    if manifest["tables"]:
        console.print(tables)
    _print_quality(console, manifest["quality"])
    packed = sum(table["rows"] * table["row_bytes"] for table in manifest["tables"])
    plain = sum(table["rows"] * table["dim"] * 4 for table in manifest["tables"])
    before = f", checkpoint {checkpoint_bytes:,}" if checkpoint_bytes is not None else ""
    size = artifact.path.stat().st_size
    console.print(
        f"{artifact.path}: {size:,} bytes{before}; tables {packed:,} bytes, in fp32 {plain:,}", soft_wrap=True
    )


def _print_quality(console: Console, quality: dict) -> None:
    if not quality:
        return
    for name in ("eager", "artifact"):
        measured = quality[name]
        console.print(
            f"{name:>8}: AUC {measured['auc']:.5f}, normalized entropy {measured['normalized_entropy']:.5f} "
            f"on {quality['samples']:,} rows of {quality['data']}"
        )
    lost = quality.get("normalized_entropy_loss")  # artifacts of older versions have none
    if lost:
        low, high = (f"{100 * one:+.3g}" for one in lost["interval"])
        console.print(
            f"normalized entropy changed by {100 * lost['relative']:+.3g} % (95 % interval {low} to {high} %)"
        )


def _print_costs(console: Console, manifest: dict) -> None:
    costs = Table(title="what a batch costs", title_justify="left")
    costs.add_column("stage", overflow="fold")
    costs.add_column("FLOPs")
    costs.add_column("bytes moved at least")
    costs.add_column("operator by operator")
    costs.add_column("weights, once", justify="right")
    for stage in manifest["stages"]:
        if stage["kind"] == "embedding":
            costs.add_row(stage["name"], "", words.lookup_bytes(lookup_cost(manifest, stage)), "", "")
        elif "cost" in stage:  # artifacts of older versions have none
            cost = stage["cost"]
            moved = [words.per_row(cost[one]) for one in ("flops", "bytes", "operator_bytes")]
            costs.add_row(stage["name"], *moved, words.fixed(cost["bytes"]))
    if costs.row_count:
        console.print(costs)
