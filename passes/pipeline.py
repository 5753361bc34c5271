"""The passes in the order in which they run: this list is the order, there is no other registry."""

from __future__ import annotations

from collections.abc import Sequence

from recpile.passes.base import Pass
from recpile.passes.batch_tables import BatchTables
from recpile.passes.cast_dense import CastDense
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.find_lookups import FindLookups
from recpile.passes.flatten_interactions import FlattenInteractions
from recpile.passes.fold_batch_norm import FoldBatchNorm
from recpile.passes.fold_constants import FoldConstants
from recpile.passes.hoist_request_side import HoistRequestSide
from recpile.passes.join_slices import JoinSlices
from recpile.passes.lookups_in_bf16 import LookupsInBf16
from recpile.passes.matmuls_to_linears import MatmulsToLinears
from recpile.passes.merge_duplicates import MergeDuplicates
from recpile.passes.merge_linears import MergeLinears
from recpile.passes.quantize_dense import QuantizeDense
from recpile.passes.quantize_tables import QuantizeTables, TablePrecision
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.passes.split_request_columns import SplitRequestColumns
from recpile.passes.split_stages import SplitStages
from recpile.passes.stack_branches import StackBranches
from recpile.passes.undo_permutes import UndoPermutes
from recpile.passes.write_out_padding import WriteOutPadding
from recpile.pycompiler.eval_data import EvalData


def passes(
    tables: TablePrecision,
    dense: str | DensePrecision,
    extra: Sequence[Pass] = (),
    calibration: EvalData | None = None,
) -> list[Pass]:
    """All passes; `extra` are the user's own (docs/custom_pass.md), `calibration` rows that show int8-static its
    ranges."""
    dense = DensePrecision(dense) if isinstance(dense, str) else dense
    return [
        # First: a lookup must be seen to read the model's inputs, not views of them.
        RemoveIdentities(),
        # Next: the passes below look for operators that follow each other, and these stand between.
        RemoveNoOps(),
        # In front of UndoPermutes, which removes the axis of one that this leaves between layers.
        MatmulsToLinears(dense.lowest),
        UndoPermutes(),
        # Before batching: a lookup that a model makes twice need not be made of twice the features.
        MergeDuplicates(),
        # Before batching: plain PyTorch lookups join TorchRec's.
        FindLookups(),
        # Before batching, which would mix what a request and what a candidate looks up.
        HoistRequestSide(),
        WriteOutPadding(),
        # While the graph is whole: lookups from anywhere in it may meet.
        BatchTables(),
        # After batching, which cuts its result into the lookups that it merged.
        JoinSlices(),
        # The user's own: the graph is whole, fp32 and not fused yet, its lookups are batched.
        *extra,
        # Before fusions: they take weights that are read as they are, not computed.
        FoldConstants(),
        # Batch norms first: they stand between linear layers. Merging next, as stacked layers are no linear layers.
        FoldBatchNorm(dense.lowest),
        MergeLinears(),
        FlattenInteractions(),
        StackBranches(dense.lowest),
        # Behind merging and stacking, which look for layers over the same input: the merged layer is cut as one.
        SplitRequestColumns(dense.lowest),
        # After batching: tables of different types share a call once they are packed, so types never split a group.
        QuantizeTables(tables),
        # Every lookup is packed now, and becomes a stage.
        SplitStages(),
        # On stages: precision is chosen stage by stage.
        CastDense(dense),
        # After casting: what of int8's layers is left in fp32 is theirs.
        QuantizeDense(dense, calibration),
        # Last: what reads a lookup is known only now.
        LookupsInBf16(dense),
    ]
