"""What an embedding stage reads, from the manifest alone: bytes an id, a table, and bytes a bag."""

from __future__ import annotations

from dataclasses import dataclass

from recpile.pycompiler.schema import DTYPES

_FP32 = 4


@dataclass(frozen=True)
class TableRead:
    """One table of a stage. An id that is looked up in it reads one row."""

    table: dict  # the manifest's entry
    features: int
    bytes_per_id: int  # the row, the id itself, and its weight

    @property
    def bytes(self) -> int:
        return self.table["rows"] * self.table["row_bytes"]


@dataclass(frozen=True)
class LookupCost:
    """`bytes_per_bag`: what each row of the result costs beside the ids: its lengths read, the result written."""

    tables: tuple[TableRead, ...]
    bytes_per_bag: int


def lookup_cost(manifest: dict, stage: dict) -> LookupCost:
    """Of an embedding stage of `manifest`. Tables in the order in which the stage reads them."""
    widths = {tensor["name"]: DTYPES[tensor["dtype"]].itemsize for tensor in _values(manifest)}
    tables = {table["name"]: table for table in manifest["tables"]}
    result = DTYPES[stage["outputs"][0]["dtype"]].itemsize
    reads: dict[str, list[int]] = {}
    bag = 0
    for feature in stage["features"]:
        source, table = stage["sources"][feature["source"]], tables[feature["table"]]
        beside = widths[source["values"]] + (_FP32 if "weights" in source else 0)
        given = result * table["dim"]  # by each id where the lookup is not pooled, else by each bag
        beside += given if stage["pooling"] == "none" else 0
        reads.setdefault(table["name"], []).append(table["row_bytes"] + beside)
        bag += widths[source["lengths"]] if "lengths" in source else 0
        bag += 0 if stage["pooling"] == "none" else given
    told = tuple(TableRead(tables[name], len(each), max(each)) for name, each in reads.items())
    return LookupCost(told, bag)


def _values(manifest: dict) -> list[dict]:
    tensors = [tensor for one in manifest["inputs"] for tensor in one["tensors"]]
    return tensors + [output for stage in manifest["stages"] for output in stage["outputs"]]
