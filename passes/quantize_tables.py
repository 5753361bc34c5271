"""QuantizeTables: packs every table in the type asked for, and measures what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import (
    EMBEDDING_BAGS,
    PACKED_EMBEDDING_BAGS,
    add_buffer,
    attribute,
    drop_unused_weights,
    editable,
    lookups,
    recaptured,
)
from recpile.pycompiler.byte_sizes import parse_bytes
from recpile.pycompiler.packing import FBGEMM_TYPES, check_dtype, pack, row_bytes, unpack
from recpile.pycompiler.program import Program, Table, TableError

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class TablePrecision:
    """A type for every table: the first rule whose glob matches the table's name, else the first of `sizes` (bytes,
    type) that the table's bytes in fp32 reach, else `default`."""

    default: str = "fp32"
    rules: tuple[tuple[str, str], ...] = ()
    sizes: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        for got in self.types():
            check_dtype(got)

    @staticmethod
    def parse(texts: list[str]) -> TablePrecision:
        """From the command line: "int8" sets the default, "user*=fp16" adds a rule, ">=100MB=int4" one for sizes."""
        defaults = [text for text in texts if "=" not in text]
        if len(defaults) > 1:
            raise ValueError(
                f"embedding dtype: got {len(defaults)} defaults ({', '.join(defaults)}); give one, or TABLE=TYPE"
            )
        given = [(of, dtype) for of, _, dtype in (text.rpartition("=") for text in texts if "=" in text)]
        sizes = tuple((parse_bytes(of[2:]), dtype) for of, dtype in given if of.startswith(">="))
        rules = tuple((of, dtype) for of, dtype in given if not of.startswith(">="))
        return TablePrecision(defaults[0] if defaults else "fp32", rules, sizes)

    def types(self) -> list[str]:
        return [self.default, *(dtype for _, dtype in self.rules), *(dtype for _, dtype in self.sizes)]

    def of(self, table: str, fp32_bytes: int = 0) -> str:
        by_size = next((dtype for at_least, dtype in self.sizes if fp32_bytes >= at_least), self.default)
        return next((dtype for glob, dtype in self.rules if fnmatchcase(table, glob)), by_size)


class QuantizeTables(Pass):
    """Packs tables into FBGEMM rows (pycompiler/packing.py) and lookups into their packed form.

    before:  embedding_bags([item: f32[1682, 32]], values, lengths, …)
    after:   packed_embedding_bags([item_packed: u8[1682, 36]], dims [32], types [int8], values, lengths, …)
    """

    def __init__(self, precision: TablePrecision = TablePrecision()) -> None:
        self.precision = precision
        self.exact = set(precision.types()) == {"fp32"}

    def run(self, program: Program) -> PassResult:
        names = [table.name for table in program.tables.values()]
        for glob, _ in self.precision.rules:
            if not any(fnmatchcase(name, glob) for name in names):
                raise ValueError(f"embedding dtype rule '{glob}' matches no table; the tables are {', '.join(names)}")
        module = editable(program.graph)
        calls = [(node, call) for node, call in lookups(module) if node.target is EMBEDDING_BAGS]
        if not calls:
            done = [self.declined(name, "is packed already") for name in names]
            return PassResult(program.with_notes(*done), changed=False)
        tables, notes = {}, []
        # In the program's order, which is the order of the tables in the artifact.
        for fqn, table in program.tables.items():
            packed, table = self._pack(attribute(module, fqn), table)
            tables[_packed_name(fqn)] = table
            add_buffer(module, _packed_name(fqn), packed)
            if table.given is not None:
                notes.append(self.declined(table.name, f"the model brings it packed, as {table.dtype}"))
                continue
            size = f"{packed.numel():,} bytes of {row_bytes('fp32', table.dim) * table.rows:,}"
            error = f"mean error {table.error.mean:.2g}, max {table.error.max:.2g}"
            notes.append(self.did(table.name, f"{table.dtype}: {size}, {error}"))
        for node, call in calls:
            with module.graph.inserting_before(node):
                call.tables = [module.graph.get_attr(_packed_name(str(weight.target))) for weight in call.tables]
            used = [tables[str(weight.target)] for weight in call.tables]
            call.dims = [table.dim for table in used]
            call.dtypes = [FBGEMM_TYPES[table.dtype] for table in used]
            node.target, node.args = PACKED_EMBEDDING_BAGS, call.args()
        module.graph.eliminate_dead_code()
        drop_unused_weights(module)
        return PassResult(recaptured(replace(program, tables=tables), module).with_notes(*notes), changed=True)

    def _pack(self, weight: Tensor, table: Table) -> tuple[Tensor, Table]:
        if table.given is not None:
            return table.given, replace(table, dtype=table.given_dtype, packed=True)
        dtype = self.precision.of(table.name, row_bytes("fp32", table.dim) * table.rows)
        try:
            packed = pack(weight, dtype)
        except ValueError as error:
            raise ValueError(f"table '{table.name}': {error}") from error
        return packed, replace(table, dtype=dtype, packed=True, error=table_error(weight, packed, dtype, table.dim))


def _packed_name(fqn: str) -> str:
    return f"{fqn}_packed"


def table_error(weight: Tensor, packed: Tensor, dtype: str, dim: int) -> TableError:
    if dtype == "fp32":
        return TableError(0.0, 0.0)
    total, largest = 0.0, 0.0
    for at in range(0, weight.shape[0], _ROWS_AT_ONCE):
        rows = slice(at, at + _ROWS_AT_ONCE)
        difference = (unpack(packed[rows], dtype, dim) - weight[rows].detach()).abs()
        total += float(difference.sum(dtype=torch.float64))
        largest = max(largest, float(difference.max()))
    return TableError(mean=total / max(1, weight.numel()), max=largest)
