"""BatchTables: lookups that pool alike and do not need each other become one."""

from __future__ import annotations

import pytest
import torch
import zoo
from compiler.graphs import Computes, Towers, aten, captured, count, farthest, kjt, lookup_calls, lookup_nodes, reasons
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.batch_tables import BatchTables
from recpile.passes.find_lookups import FindLookups
from recpile.passes.graph import EMBEDDING_BAGS
from recpile.passes.invariants import verify
from recpile.passes.remove_identities import RemoveIdentities
from recpile.pycompiler.capture import capture
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def batched(program: Program) -> Program:
    result = BatchTables().run(program)
    verify(result.program)
    assert result.changed
    return result.program


def next_ids(pooled: Tensor, rows: int, key: str) -> KeyedJaggedTensor:
    """One id a candidate, computed from a first lookup's result."""
    ids = (pooled.sum(dim=1).abs() * 100).long() % rows
    return KeyedJaggedTensor(keys=[key], values=ids, lengths=torch.ones_like(ids))


def two_towers() -> tuple[nn.Module, Program]:
    model = Towers(collection(("a", 5, 4, ["f0"])), collection(("b", 7, 8, ["f1"]), ("c", 6, 4, ["f0", "f1"])))
    return model, captured(model, kjt("f0", "f1"))


@pytest.mark.proves("The passes", "batch tables", "graph")
def test_two_collections_become_one_lookup_of_all_their_tables() -> None:
    model, program = two_towers()
    after = batched(program)
    assert [len(call.tables) for call in lookup_calls(program)] == [1, 2]
    assert [len(call.tables) for call in lookup_calls(after)] == [3]
    assert count(after, EMBEDDING_BAGS) == 1
    assert farthest(model, after) == 0


def test_the_log_says_which_lookups_became_one() -> None:
    _, program = two_towers()
    assert reasons(batched(program), "BatchTables", did=True) == {
        "embedding_bags, embedding_bags_1": "one lookup of 3 tables, sum-pooled, unweighted"
    }


def test_the_program_that_was_given_is_left_as_it_was() -> None:
    _, program = two_towers()
    before = str(program.graph.graph)
    batched(program)
    assert str(program.graph.graph) == before
    assert program.log == ()


def test_a_second_run_changes_nothing() -> None:
    _, program = two_towers()
    once = batched(program)
    again = BatchTables().run(once)
    assert not again.changed
    assert again.program.graph is once.graph
    assert list(reasons(again.program, "BatchTables", did=False).values()) == [
        "is the only lookup that is sum-pooled, unweighted"
    ]


@pytest.mark.proves("The passes", "batch tables", "refusal")
def test_a_single_lookup_is_declined_with_the_reason() -> None:
    program = captured(Towers(collection(("a", 5, 4, ["f0"]))), kjt("f0"))
    result = BatchTables().run(program)
    assert not result.changed
    assert reasons(result.program, "BatchTables", did=False) == {
        "embedding_bags": "is the only lookup that is sum-pooled, unweighted"
    }


def test_a_source_that_two_lookups_read_appears_once() -> None:
    _, program = two_towers()
    (call,) = lookup_calls(batched(RemoveIdentities().run(program).program))
    assert (len(call.values), len(call.lengths)) == (1, 1)
    assert call.feature_source == [0, 0, 0, 0]


def test_a_table_that_two_lookups_share_appears_once() -> None:
    model = Computes(
        lambda self, a, b: torch.cat([self.bags(a).values(), self.bags(b).values()], dim=1),
        bags=collection(("t", 5, 4, ["f0"])),
    )
    after = batched(captured(model, kjt("f0", name="a"), kjt("f0", name="b")))
    (call,) = lookup_calls(after)
    assert (len(call.tables), len(call.values)) == (1, 2)
    assert (call.feature_table, call.feature_source) == ([0, 0], [0, 1])
    assert farthest(model, after) == 0


def test_features_are_sorted_by_table_and_columns_go_back_to_their_lookup() -> None:
    # Each call reads t and u; side by side their features would read t, u, t, u.
    model = Computes(
        lambda self, a, b: torch.cat([self.bags(a).values(), self.bags(b).values()], dim=1),
        bags=collection(("t", 5, 4, ["f0"]), ("u", 5, 8, ["f1"])),
    )
    after = batched(captured(model, kjt("f0", "f1", name="a"), kjt("f1", "f0", name="b")))
    (call,) = lookup_calls(after)
    assert call.feature_table == [0, 0, 1, 1]
    assert call.feature_source == [0, 1, 0, 1]
    assert call.feature_row == [0, 1, 1, 0]
    # bags(a) is columns 0..4 and 8..16 of the one lookup, bags(b) columns 4..8 and 16..24
    spans = [node.args[2:] for node in after.graph.graph.nodes if node.target is aten.slice.Tensor]
    assert sorted(spans) == [(0, 4), (4, 8), (8, 16), (16, 24)]
    assert farthest(model, after) == 0


def test_neighbouring_columns_are_cut_out_in_one_piece() -> None:
    _, program = two_towers()
    after = batched(program)
    assert count(after, aten.slice.Tensor) == 2
    assert count(after, aten.cat.default) == count(program, aten.cat.default)


@pytest.mark.parametrize(
    ("one", "other", "kinds"),
    [
        ({"weighted": True}, {}, ["sum-pooled, unweighted", "sum-pooled, weighted"]),
        ({"mean": True}, {}, ["mean-pooled, unweighted", "sum-pooled, unweighted"]),
    ],
    ids=["weights", "pooling"],
)
def test_lookups_of_two_kinds_stay_two_lookups(one: dict, other: dict, kinds: list[str]) -> None:
    model = Towers(collection(("a", 5, 4, ["f0"]), **one), collection(("b", 7, 8, ["f0"]), **other))
    result = BatchTables().run(captured(model, kjt("f0", weighted=True)))
    assert not result.changed
    assert count(result.program, EMBEDDING_BAGS) == 2
    declined = reasons(result.program, "BatchTables", did=False).values()
    assert sorted(declined) == [f"is the only lookup that is {kind}" for kind in kinds]


def test_weighted_lookups_merge_with_their_weights() -> None:
    model = Towers(*[collection((name, 5, 4, ["f0"]), weighted=True) for name in ("a", "b")])
    after = batched(captured(model, kjt("f0", weighted=True)))
    (call,) = lookup_calls(after)
    assert len(call.weights) == len(call.values)
    assert farthest(model, after) == 0


def test_a_lookup_that_needs_anothers_result_is_not_merged_with_it() -> None:
    model = Computes(
        lambda self, sparse: self.then(next_ids(self.first(sparse).values(), 7, "g")).values(),
        first=collection(("a", 5, 4, ["f0"])),
        then=collection(("b", 7, 8, ["g"])),
    )
    result = BatchTables().run(captured(model, kjt("f0")))
    assert not result.changed
    assert count(result.program, EMBEDDING_BAGS) == 2


def test_two_chains_of_two_lookups_become_one_chain_of_two() -> None:
    def chains(self, sparse: KeyedJaggedTensor) -> Tensor:
        first, other = self.a(sparse).values(), self.c(sparse).values()
        return torch.cat([self.b(next_ids(first, 7, "g")).values(), self.d(next_ids(other, 9, "h")).values()], dim=1)

    model = Computes(
        chains,
        a=collection(("a", 5, 4, ["f0"])),
        b=collection(("b", 7, 8, ["g"])),
        c=collection(("c", 5, 8, ["f0"])),
        d=collection(("d", 9, 4, ["h"])),
    )
    after = batched(captured(model, kjt("f0")))
    tables = [[str(table).split("_")[-2] for table in call.tables] for call in lookup_calls(after)]
    assert tables == [["a", "c"], ["b", "d"]]
    assert farthest(model, after) == 0


def test_ids_of_other_types_share_a_lookup() -> None:
    model, schema = zoo.two_sources()
    after = batched(RemoveIdentities().run(capture(model, schema, "two")).program)
    sizes = sorted((len(call.tables), len(call.values), bool(call.weights)) for call in lookup_calls(after))
    assert sizes == [(1, 1, True), (3, 2, False)]
    assert farthest(model, after, ids=50) < 1e-6


def test_a_view_of_rows_that_are_now_cut_out_of_a_wider_result_copies_them() -> None:
    def function(self, x):
        rows = self.deep(x)
        return rows.view(-1, 12).sum(1, keepdim=True) + self.wide(x).sum(1) + rows.sum((1, 2)).unsqueeze(1)

    model = Computes(function, deep=nn.Embedding(5, 4), wide=nn.Embedding(5, 1))
    program = run_passes(captured(model, Dense("x", (3,), torch.int64)), [FindLookups(), BatchTables()])
    assert len(lookup_nodes(program)) == 1
    assert farthest(model, program) < 1e-6
