"""What an artifact holds, as tables on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from recpile.pycompiler.artifact.reader import Artifact


def print_summary(console: Console, artifact: Artifact, checkpoint_bytes: int | None = None) -> None:
    manifest = artifact.manifest
    stages = Table(
        title=f"stages of {manifest['model']['name']} version {manifest['model']['version']}", title_justify="left"
    )
    for column in ("stage", "kind", "type", "takes", "gives"):
        stages.add_column(column, overflow="fold")
    for stage in manifest["stages"]:
        kind = stage.get(
            "precision", f"{len({f['table'] for f in stage.get('features', ())})} tables, {stage.get('pooling')}"
        )
        given = ", ".join(f"{one['name']} {_shape(one)}" for one in stage["outputs"])
        stages.add_row(stage["name"], stage["kind"], kind, ", ".join(stage["inputs"]), given)
    console.print(stages)

    tables = Table(title="tables", title_justify="left")
    tables.add_column("table")
    for column in ("rows", "dim", "type", "bytes", "of fp32", "mean error", "max error"):
        tables.add_column(column, justify="right")
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


def _shape(spec: dict) -> str:
    return f"{spec['dtype']}[{', '.join(str(size) for size in spec['shape'])}]"
