"""`recpile export --precision`: types of tables and dense stages from a file, or found within a budget."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from recpile.passes.dense_precision import INT8_STATIC, DensePrecision
from recpile.pycompiler.artifact.manifest import input_entry
from recpile.pycompiler.compile import CompileOptions
from recpile.pycompiler.evaluation.rows import read_rows
from recpile.pycompiler.precision.choose import PREFERENCES
from recpile.pycompiler.precision.file import read_precision
from recpile.pycompiler.precision.front import FORMATS, draw_front
from recpile.pycompiler.precision.report import manifest_entry, summary, table_of
from recpile.pycompiler.precision.search import SearchOptions, parse_budget, search
from recpile.pycompiler.quality import EvalData
from recpile.pycompiler.schema import InputSchema

_BUDGET = "0.02%"


def add_precision_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("precision of tables and dense stages (docs/quantization.md)")
    group.add_argument(
        "--precision", metavar="FILE | auto", help="types by name and size from a YAML file, or the smallest in budget"
    )
    group.add_argument(
        "--calibration", metavar="FILE", help="labelled rows to search on, and for int8-static: as --eval-data"
    )
    group.add_argument(
        "--budget", metavar="PERCENT", help=f"of normalized entropy that auto may lose (default {_BUDGET})"
    )
    group.add_argument(
        "--prefer", choices=tuple(PREFERENCES), help="what auto makes least: bytes (size, default) or time (speed)"
    )
    group.add_argument(
        "--front",
        metavar="FILE",
        help="where auto draws sizes and losses: .svg, or .html with the table of what each got (OUTPUT.front.svg)",
    )


def check_options(options: argparse.Namespace) -> None:
    """ValueError for options that contradict each other, before anything is loaded."""
    if options.precision != "auto":
        static = any(INT8_STATIC in text for text in options.dense_dtype) or options.precision is not None
        used = ("budget", "prefer", "front") if static else ("calibration", "budget", "prefer", "front")
        given = [n for n in used if getattr(options, n) is not None]
        if given:
            raise ValueError(
                f"--{given[0]} goes with --precision auto; got --precision {options.precision or 'not at all'}"
            )
    elif options.calibration is None:
        raise ValueError("--precision auto needs --calibration FILE: labelled rows that show what a table can bear")
    if options.precision is not None and options.embedding_dtype:
        raise ValueError("--embedding-dtype and --precision both say the types of tables; use one of them")
    if options.precision not in (None, "auto") and options.dense_dtype:
        raise ValueError("--dense-dtype and a precision file both say the types of dense stages; use one of them")
    if options.budget is not None:
        parse_budget(options.budget)
    if options.front is not None and Path(options.front).suffix not in FORMATS:
        raise ValueError(f"--front: got '{options.front}'; use a file name that ends in {' or '.join(FORMATS)}")


def read_data(path: str, schema: InputSchema) -> EvalData:
    """Labelled rows of any format that `recpile eval` reads."""
    return read_rows(path, [input_entry(one) for one in schema.inputs]).data


def with_precision(
    options: argparse.Namespace,
    chosen: CompileOptions,
    model: nn.Module,
    schema: InputSchema,
    console: Console,
    progress: Callable[[str], None],
    detail: Callable[[str], None],
) -> CompileOptions | None:
    """`chosen` with the types that --precision says or finds; None if there are none within the budget. `progress`
    hears of each step, `detail` of what a step is at."""
    if options.eval_data and chosen.eval_data is None:
        chosen = replace(chosen, eval_data=read_data(options.eval_data, schema))
    if options.calibration:
        chosen = replace(chosen, calibration=read_data(options.calibration, schema))
    if options.precision is None:
        return chosen
    if options.precision != "auto":
        precision = read_precision(options.precision)
        return replace(chosen, tables=precision.tables, dense_dtype=precision.dense)
    assert chosen.calibration is not None
    progress("search for precisions")
    output = Path(options.output)
    found = search(
        model,
        schema,
        SearchOptions(
            parse_budget(options.budget or _BUDGET),
            chosen.calibration,
            output.with_suffix(".sensitivities.json"),
            chosen.eval_data,
            DensePrecision.parse(options.dense_dtype) if options.dense_dtype else None,
            chosen.extra_passes,
            options.prefer or "size",
        ),
        progress,
        detail,
    )
    if found.resumed:
        console.print(f"{found.resumed} sensitivities were known from {output.with_suffix('.sensitivities.json')}")
    console.print(table_of(found))
    console.print(summary(found), soft_wrap=True)
    if not found.repaired.met:
        return None
    front = Path(options.front) if options.front else output.with_suffix(".front.svg")
    draw_front(found, front)
    console.print(f"{front}: sizes and losses that were found", soft_wrap=True)
    return replace(
        chosen,
        tables=found.tables,
        dense_dtype=found.dense,
        calibration=found.calibration,
        eval_data=found.held_out,
        precision_search=manifest_entry(found),
    )
