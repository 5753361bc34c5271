"""What a search found: for the manifest, and as a table on the terminal."""

from __future__ import annotations

from rich.table import Table

from recpile.pycompiler.precision.choose import bytes_of, loss_of
from recpile.pycompiler.precision.search import Found


def manifest_entry(found: Found) -> dict:
    """`quality.precision_search` of the manifest (docs/artifact.md). Losses are shares of the normalized entropy."""
    assignment = found.repaired.assignment
    return {
        "budget": found.budget,
        "calibration": {"data": found.calibration.name, "samples": len(found.calibration.labels)},
        "held_out": {
            "data": found.held_out.name,
            "samples": len(found.held_out.labels),
            "normalized_entropy_loss": found.repaired.loss,
        },
        "dense_loss": found.dense_loss,
        "bytes": bytes_of(assignment),
        "bytes_fp32": sum(options[0].bytes for options in found.options.values()),
        "tables": {
            name: {
                "dtype": one.dtype,
                "bytes": one.bytes,
                "measured_loss": one.measured,
                "measured_noise": one.noise,
                "expected_loss": one.expected,
                "hit_error": one.hit_error,
                "reason": found.reasons[name],
            }
            for name, one in assignment.items()
        },
    }


def table_of(found: Found) -> Table:
    """A row a table: what it got, what that costs, and why."""
    table = Table(title=f"precision within {percent(found.budget)} of the normalized entropy", title_justify="left")
    table.add_column("table", overflow="fold")
    for column in ("type", "bytes", "of fp32", "loss", "mean error of a hit"):
        table.add_column(column, justify="right")
    table.add_column("why", overflow="fold")
    for name, one in found.repaired.assignment.items():
        share = f"{one.bytes / found.options[name][0].bytes:.0%}"
        table.add_row(
            name, one.dtype, f"{one.bytes:,}", share, percent(one.loss), f"{one.hit_error:.2g}", found.reasons[name]
        )
    return table


def summary(found: Found) -> str:
    """One line: bytes, and the loss expected and measured."""
    assignment = found.repaired.assignment
    size, plain = bytes_of(assignment), sum(options[0].bytes for options in found.options.values())
    text = (
        f"tables {size:,} bytes, {plain / size:.1f} times smaller than fp32; normalized entropy lost: "
        f"{percent(loss_of(assignment))} expected, {percent(found.repaired.loss)} measured on "
        f"{len(found.held_out.labels):,} rows of {found.held_out.name}"
    )
    return text if found.repaired.met else f"no assignment within {percent(found.budget)}; the best found: {text}"


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"
