"""The passes in the order in which they run: this list is the order, there is no other registry."""

from __future__ import annotations

from collections.abc import Sequence

from recpile.passes.base import Pass
from recpile.passes.batch_tables import BatchTables
from recpile.passes.cast_dense import CastDense
from recpile.passes.find_lookups import FindLookups
from recpile.passes.quantize_tables import QuantizeTables, TablePrecision
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.split_stages import SplitStages


def passes(tables: TablePrecision, dense_dtype: str, extra: Sequence[Pass] = ()) -> list[Pass]:
    """All passes; `extra` are the user's own (docs/custom_pass.md)."""
    return [
        # First: a lookup must be seen to read the model's inputs, not views of them.
        RemoveIdentities(),
        # Before batching: plain PyTorch lookups join TorchRec's.
        FindLookups(),
        # While the graph is whole: lookups from anywhere in it may meet.
        BatchTables(),
        # The user's own: the graph is whole and still fp32, its lookups are batched.
        *extra,
        # After batching: tables of different types share a call once they are packed, so types never split a group.
        QuantizeTables(tables),
        # Every lookup is packed now, and becomes a stage.
        SplitStages(),
        # On stages: each has outputs of its own whose last layers stay fp32.
        CastDense(dense_dtype),
    ]
