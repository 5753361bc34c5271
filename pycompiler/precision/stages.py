"""A program's stages on fixed rows, with some tables or stages replaced: only what those reach runs again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from recpile.pycompiler.operators import NONE, POOLINGS, bags_by_feature, packed_embedding_bags
from recpile.pycompiler.packing import FBGEMM_TYPES
from recpile.pycompiler.program import Lookup, Program, Stage
from recpile.pycompiler.quality import EvalData


@dataclass(frozen=True)
class Rows:
    """A packed table: uint8 [rows, row_bytes], and its type."""

    packed: Tensor
    dtype: str


class StagesOnRows:
    """Runs the stages of `program` (packed, split) on the rows of `data`; keeps what every stage gave in memory.

    With tables replaced, an embedding stage looks up again only the features of those tables, by the kernel that will
    serve them, and stages that nothing replaced reaches are not run.
    """

    def __init__(self, program: Program, data: EvalData) -> None:
        self.program = program
        self.labels = np.asarray(data.labels)
        weights = {**program.graph.state_dict, **program.graph.constants}
        self.tables = {t.name: Rows(weights[fqn].detach(), t.dtype) for fqn, t in program.tables.items()}
        self.dims = {table.name: table.dim for table in program.tables.values()}
        self._code = {s.name: s.graph.module(check_guards=False) for s in program.stages if s.kind == "compiled"}
        self._output = program.outputs[program.schema.outputs.index(data.output) if data.output else 0]
        self._kept: list[dict[str, Tensor]] = []
        for flat in data.batches(program.schema):
            values = dict(flat)
            self._run(values, {}, {}, every=True)
            self._kept.append(values)

    def scores(self, replaced: Mapping[str, Rows] = {}, code: Mapping[str, GraphModule] = {}) -> np.ndarray:
        """The output that predicts the label, fp32 [N], with the tables, and the compiled stages, of these names
        replaced."""
        found = []
        for kept in self._kept:
            values = dict(kept)
            self._run(values, replaced, code)
            found.append(values[self._output].float().reshape(-1))
        return torch.cat(found).numpy()

    def hits(self) -> dict[str, Tensor]:
        """How often each row of each table is looked up, int64 [rows]."""
        counts = {name: torch.zeros(len(rows.packed), dtype=torch.int64) for name, rows in self.tables.items()}
        for stage in self.program.stages:
            if stage.lookup is None:
                continue
            for values in self._kept:
                for feature, bag in zip(stage.lookup.features, self._bags(stage.lookup, values), strict=True):
                    counts[feature.table] += torch.bincount(bag.ids, minlength=len(counts[feature.table]))
        return counts

    def _run(
        self,
        values: dict[str, Tensor],
        replaced: Mapping[str, Rows],
        code: Mapping[str, GraphModule],
        every: bool = False,
    ) -> None:
        changed: set[str] = set()
        with torch.no_grad():
            for stage in self.program.stages:
                again = every or stage.name in code or any(name in changed for name in stage.inputs)
                names = [spec.name for spec in stage.outputs]
                if stage.lookup is None:
                    run = code.get(stage.name, self._code[stage.name])
                    given = run(*(values[name] for name in stage.inputs)) if again else None
                else:
                    given = self._embedding(stage, stage.lookup, values, replaced, again)
                if given is not None:
                    values.update(zip(names, given, strict=True))
                    changed.update(names)

    def _embedding(
        self, stage: Stage, lookup: Lookup, values: Mapping[str, Tensor], replaced: Mapping[str, Rows], again: bool
    ) -> list[Tensor] | None:
        every = list(range(len(lookup.features)))
        touched = [f for f in every if lookup.features[f].table in replaced]
        if again or (touched and lookup.pooling == POOLINGS[NONE]):
            return [self._look_up(lookup, values, replaced, every)]
        if not touched:
            return None
        ends = np.cumsum([0, *(self.dims[feature.table] for feature in lookup.features)])
        pooled = values[stage.outputs[0].name].clone()
        columns = torch.cat([torch.arange(int(ends[f]), int(ends[f + 1])) for f in touched])
        pooled[:, columns] = self._look_up(lookup, values, replaced, touched)
        return [pooled]

    def _look_up(
        self, lookup: Lookup, values: Mapping[str, Tensor], replaced: Mapping[str, Rows], features: Iterable[int]
    ) -> Tensor:
        chosen = [lookup.features[f] for f in features]
        names = list(dict.fromkeys(feature.table for feature in chosen))
        tables = [replaced.get(name, self.tables[name]) for name in names]
        return packed_embedding_bags(
            [rows.packed for rows in tables],
            [self.dims[name] for name in names],
            [FBGEMM_TYPES[rows.dtype] for rows in tables],
            *_sources(lookup, values),
            [feature.source for feature in chosen],
            [feature.row for feature in chosen],
            [names.index(feature.table) for feature in chosen],
            POOLINGS.index(lookup.pooling),
            [source.columns for source in lookup.sources],
            [feature.size for feature in chosen],
        )

    def _bags(self, lookup: Lookup, values: Mapping[str, Tensor]) -> Iterable:
        return bags_by_feature(
            *_sources(lookup, values),
            [feature.source for feature in lookup.features],
            [feature.row for feature in lookup.features],
            [source.columns for source in lookup.sources],
            [feature.size for feature in lookup.features],
        )


def _sources(lookup: Lookup, values: Mapping[str, Tensor]) -> tuple[list, list, list]:
    return (
        [values[source.values] for source in lookup.sources],
        [values[source.lengths] if source.lengths else None for source in lookup.sources],
        [values[source.weights] for source in lookup.sources if source.weights],
    )
