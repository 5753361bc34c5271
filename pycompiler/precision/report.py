"""What a search found: for the manifest, and as a table on the terminal."""

from __future__ import annotations

from rich.table import Table

from recpile.pycompiler.precision.choose import loss_of, nanoseconds_of
from recpile.pycompiler.precision.search import Found


def manifest_entry(found: Found) -> dict:
    """`quality.precision_search` of the manifest (docs/artifact.md). Losses are shares of the normalized entropy."""
    return {
        "budget": found.budget,
        "calibration": {"data": found.calibration.name, "samples": len(found.calibration.labels)},
        "held_out": {
            "data": found.held_out.name,
            "samples": len(found.held_out.labels),
            "normalized_entropy_loss": found.repaired.loss,
        },
        "dense_loss": found.dense_loss,
        "prefer": found.prefer,
        "bytes": _bytes(found, "table"),
        "bytes_fp32": _bytes_fp32(found, "table"),
        "tables": _entries(found, "table"),
        "layers": _entries(found, "layer"),
    }


def _entries(found: Found, kind: str) -> dict:
    return {
        one.name: {
            "dtype": one.dtype,
            "bytes": one.bytes,
            "measured_loss": one.measured,
            "measured_noise": one.noise,
            "expected_loss": one.expected,
            "hit_error" if kind == "table" else "mean_error": one.hit_error,
            "reason": found.reasons[key],
        }
        for key, one in found.repaired.assignment.items()
        if one.kind == kind
    }


def _bytes(found: Found, kind: str) -> int:
    return sum(one.bytes for one in found.repaired.assignment.values() if one.kind == kind)


def _bytes_fp32(found: Found, kind: str) -> int:
    return sum(options[0].bytes for options in found.options.values() if options[0].kind == kind)


COLUMNS = ("table or layer", "type", "bytes", "of fp32", "loss", "mean error", "why")


def rows_of(found: Found) -> list[tuple[str, ...]]:
    """A row of COLUMNS for each table and layer: what it got, what that costs, and why."""
    rows: list[tuple[str, ...]] = []
    for name, one in found.repaired.assignment.items():
        of = found.options[name][0].bytes
        share = f"{one.bytes / of:.0%}" if of else ""
        told = (one.dtype, f"{one.bytes:,}", share, percent(one.loss), f"{one.hit_error:.2g}")
        rows.append((name, *told, found.reasons[name]))
    return rows


def table_of(found: Found) -> Table:
    """The same for the terminal."""
    table = Table(title=f"precision within {percent(found.budget)} of the normalized entropy", title_justify="left")
    for column in COLUMNS:
        words = column in (COLUMNS[0], COLUMNS[-1])
        table.add_column(column, overflow="fold", justify="left" if words else "right")
    for row in rows_of(found):
        table.add_row(*row)
    return table


def summary(found: Found) -> str:
    """One line: bytes, and the loss expected and measured."""
    assignment = found.repaired.assignment
    parts = []
    for kind, named in (("table", "tables"), ("layer", "layers")):
        if plain := _bytes_fp32(found, kind):
            size = _bytes(found, kind)
            parts.append(f"{named} {size:,} bytes, {plain / size:.1f} times smaller than fp32")
    if found.prefer == "speed":
        now = nanoseconds_of(assignment)
        most = sum(options[0].nanoseconds for options in found.options.values())
        parts.append(f"some {now:,.0f} ns a row, {most / max(now, 1e-9):.1f} times faster than fp32")
    text = (
        f"{'; '.join(parts)}; normalized entropy lost: {percent(loss_of(assignment))} expected, "
        f"{percent(found.repaired.loss)} measured on {len(found.held_out.labels):,} rows of {found.held_out.name}"
    )
    return text if found.repaired.met else f"no assignment within {percent(found.budget)}; the best found: {text}"


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"
