"""JoinSlices: columns that are cut apart and put together again are read in one piece."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, Towers, aten, captured, count, farthest, kjt, reasons
from torch import Tensor, nn
from torchrec.models.dlrm import DLRM
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.batch_tables import BatchTables
from recpile.passes.graph import EMBEDDING_BAGS
from recpile.passes.invariants import verify
from recpile.passes.join_slices import JoinSlices
from recpile.passes.merge_duplicates import MergeDuplicates
from recpile.passes.remove_no_ops import RemoveNoOps
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense

CUTS = (aten.slice.Tensor, aten.split_with_sizes.default, aten.split.Tensor)


def of_x(function) -> tuple[nn.Module, Program]:
    """A model of exp of one dense input x [B, 6]; slices of whole rows are removed."""
    model = Computes(lambda self, x: function(torch.exp(x)))
    return model, run_passes(captured(model, Dense("x", (6,))), [RemoveNoOps(), MergeDuplicates()])


def joined(program: Program) -> Program:
    result = JoinSlices().run(program)
    verify(result.program)
    assert result.changed
    return result.program


def by_feature() -> tuple[nn.Module, Program]:
    """What a model does that takes its features one by one and concatenates them."""
    bags = collection(("a", 5, 4, ["f0"]), ("b", 5, 8, ["f1"]), ("c", 5, 4, ["f2"]))

    def forward(self, sparse, x: Tensor) -> Tensor:
        features = self.bags(sparse).to_dict()
        return torch.cat([x, torch.cat([features["f0"], features["f1"], features["f2"]], dim=1)], dim=1)

    model = Computes(forward, bags=bags)
    return model, captured(model, kjt("f0", "f1", "f2"), Dense("x", (6,)))


@pytest.mark.proves("The passes", "lookups concatenated into their consumers", "graph")
def test_a_lookup_cut_by_feature_goes_straight_into_its_consumer() -> None:
    model, program = by_feature()
    assert count(program, aten.cat.default) == 2
    after = joined(program)
    assert count(after, *CUTS) == 0
    (cat,) = [node for node in after.graph.graph.nodes if node.target is aten.cat.default]
    assert [one.name for one in cat.args[0]] == ["flat_x", "embedding_bags"]
    assert farthest(model, after) == 0


def test_the_log_says_how_many_parts_are_left() -> None:
    _, program = by_feature()
    assert reasons(joined(program), "JoinSlices", did=True) == {"cat": "3 parts are 1"}


def test_a_second_run_changes_nothing() -> None:
    _, program = by_feature()
    once = joined(program)
    again = JoinSlices().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


def test_collections_batched_into_one_lookup_are_read_in_one_piece() -> None:
    model = Towers(collection(("a", 5, 4, ["f0"])), collection(("b", 7, 8, ["f1"])))
    after = joined(run_passes(captured(model, kjt("f0", "f1")), [BatchTables()]))
    assert count(after, aten.cat.default, *CUTS) == 0
    assert farthest(model, after) == 0


def test_torchrecs_dlrm_reads_its_features_in_one_piece() -> None:
    torch.manual_seed(0)
    model = DLRM(collection(("a", 5, 8, ["f0"]), ("b", 5, 8, ["f1"])), 4, [16, 8], [16, 1])
    program = captured(model, Dense("dense_features", (4,)), kjt("f0", "f1", name="sparse_features"))
    after = joined(program)
    assert count(program, aten.split_with_sizes.default) == 1
    assert count(after, aten.split_with_sizes.default) == 0
    assert farthest(model, after) == 0


@pytest.mark.parametrize(
    ("function", "cats", "cuts"),
    [
        (lambda x: torch.cat([x[:, 0:2], x[:, 2:5]], dim=1), 0, 1),
        (lambda x: torch.cat([x[:, -4:-2], x[:, -2:]], dim=1), 0, 1),
        (lambda x: torch.cat([x[:, 0:2], x[:, 2:4], x[:, 0:1]], dim=1), 1, 2),
        (lambda x: torch.cat([*x.chunk(3, dim=1), x], dim=1), 1, 0),
        (lambda x: x[:, 1:5][:, 1:3] * 2, 0, 1),
        (lambda x: torch.cat([x * 2, x], dim=1)[:, 6:8] * 2, 0, 1),
    ],
    ids=["neighbours", "from the end", "some", "chunks", "of a slice", "of a part"],
)
def test_what_is_cut_is_cut_once(function, cats: int, cuts: int) -> None:
    model, program = of_x(function)
    after = JoinSlices().run(program).program
    assert count(after, aten.cat.default) == cats
    assert count(after, *CUTS) == cuts
    assert farthest(model, after) == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.cat([x[:, 2:4], x[:, 0:2]], dim=1),
        lambda x: torch.cat([x[:, 0:3], x[:, 2:5]], dim=1),
        lambda x: torch.cat([x[:, 0:2], x[:, 3:5]], dim=1),
        lambda x: torch.cat([x[:, 0:4:2], x[:, 4:6]], dim=1),
        lambda x: torch.cat([x[:, 0:3], x[:, 3:6]], dim=0).sum(0).expand(x.shape[0], -1),
    ],
    ids=["another order", "overlapping", "a gap", "with a step", "the other axis"],
)
@pytest.mark.proves("The passes", "lookups concatenated into their consumers", "refusal")
def test_slices_that_are_no_neighbours_stay(function) -> None:
    model, program = of_x(function)
    result = JoinSlices().run(program)
    assert not result.changed
    assert farthest(model, result.program) == 0


def test_a_concatenation_that_others_read_is_copied_and_the_log_says_so() -> None:
    def both(x: Tensor) -> Tensor:
        inner = torch.cat([x, x * 2], dim=1)
        return torch.cat([inner, x * 3], dim=1).sum(1) + inner.sum(1)

    _, program = of_x(both)
    result = JoinSlices().run(program)
    assert not result.changed
    assert reasons(result.program, "JoinSlices", did=False) == {"cat": "is needed as it is, so 'cat_1' copies it"}


def test_a_lookup_of_which_nothing_is_left_takes_its_table_along() -> None:
    model = Computes(
        lambda self, sparse: torch.cat([self.a(sparse).values(), self.b(sparse).values()], dim=1)[:, :4] * 2,
        a=collection(("a", 5, 4, ["f0"])),
        b=collection(("b", 5, 4, ["f1"])),
    )
    after = joined(run_passes(captured(model, kjt("f0", "f1")), [RemoveNoOps()]))
    assert count(after, EMBEDDING_BAGS) == 1
    assert [table.name for table in after.tables.values()] == ["a"]
    assert farthest(model, after) == 0
