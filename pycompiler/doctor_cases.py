"""The inputs that a doctor tries: the sizes that captures get wrong, on random values in every table's range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import InputSchema, Jagged, KeyedJagged

_SMALL_BATCHES = (1, 2, 3, 17)
_LONG_BAG = 200


@dataclass(frozen=True)
class CaseInputs:
    """Flat inputs with a name that says what is special about them."""

    name: str
    flat: dict[str, Tensor]


def case_inputs(manifest: dict, schema: InputSchema, max_batch: int) -> Iterator[CaseInputs]:
    """manifest: of a split program or an artifact, for the ranges of ids."""
    batches = sorted({*_SMALL_BATCHES, max_batch})
    for seed, batch in enumerate(batches):
        yield CaseInputs(f"batch {batch}", random_inputs(manifest, batch, seed))
    jagged = [one for one in schema.inputs if isinstance(one, (Jagged, KeyedJagged))]
    if not jagged:
        return
    for batch in (1, 17):
        yield CaseInputs(f"no ids, batch {batch}", random_inputs(manifest, batch, longest_bag=0))
    for one in jagged:
        keys = one.keys if isinstance(one, KeyedJagged) else ("",)
        for row, key in enumerate(keys):
            flat = random_inputs(manifest, 17, seed=row)
            name = f"{one.name}[{key}]" if key else one.name
            yield CaseInputs(f"{name} empty", _kept(one, flat, lambda at, row=row: at != row))
    flat = random_inputs(manifest, 3)
    for one in jagged:
        flat = _first_id_only(one, flat)
    yield CaseInputs("one id, batch 3", flat)
    for batch in (1, 3):
        yield CaseInputs(f"long bags, batch {batch}", random_inputs(manifest, batch, longest_bag=_LONG_BAG))


def _kept(one: Jagged | KeyedJagged, flat: dict[str, Tensor], keep: Callable[[int], bool]) -> dict[str, Tensor]:
    """`flat` with the bags of the rows (features) of `one` that are not kept emptied."""
    lengths = flat[f"{one.name}.lengths"]
    rows = lengths.reshape(-1, lengths.shape[-1]).clone()
    kept = torch.tensor([keep(row) for row in range(len(rows))]).repeat_interleave(rows.sum(1))
    rows[[row for row in range(len(rows)) if not keep(row)]] = 0
    return _with_ids(one, flat, kept, rows.reshape(lengths.shape))


def _first_id_only(one: Jagged | KeyedJagged, flat: dict[str, Tensor]) -> dict[str, Tensor]:
    lengths = flat[f"{one.name}.lengths"]
    total = int(lengths.sum())
    if total == 0:
        return flat
    only = torch.zeros_like(lengths).reshape(-1)
    only[int(lengths.reshape(-1).nonzero()[0])] = 1
    return _with_ids(one, flat, torch.arange(total) == 0, only.reshape(lengths.shape))


def _with_ids(one: Jagged | KeyedJagged, flat: dict[str, Tensor], kept: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    parts = {name: flat[name][kept] for name in (f"{one.name}.values", f"{one.name}.weights") if name in flat}
    return {**flat, **parts, f"{one.name}.lengths": lengths}
