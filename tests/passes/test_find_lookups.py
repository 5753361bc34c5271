"""FindLookups: nn.Embedding and nn.EmbeddingBag become table-batched lookups, wherever their ids come from."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, count, farthest, lookup_calls, reasons
from torch import Tensor, nn

from recpile.passes.base import run_passes
from recpile.passes.batch_tables import BatchTables
from recpile.passes.find_lookups import FindLookups
from recpile.passes.graph import EMBEDDING_BAGS
from recpile.passes.invariants import verify
from recpile.passes.remove_identities import RemoveIdentities
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense, Input, Jagged
from recpile.pycompiler.swap import CaptureError

IDS = torch.int64


def found(model: nn.Module, *inputs: Input) -> Program:
    result = FindLookups().run(captured(model, *inputs))
    verify(result.program)
    return result.program


def declined(model: nn.Module, *inputs: Input) -> str:
    result = FindLookups().run(captured(model, *inputs))
    assert not result.changed
    (reason,) = reasons(result.program, "FindLookups", did=False).values()
    return reason


def source(program: Program) -> tuple[str, list[int], list[int], list[int]]:
    """Of the only lookup: what it reads, columns of its source, first column and size of each feature."""
    (call,) = lookup_calls(program)
    (values,) = call.values
    return values.name, call.columns, call.feature_row, call.feature_size


@pytest.mark.proves("Plain PyTorch", "nn.Embedding", "graph")
def test_an_embedding_is_a_bag_of_one_id() -> None:
    model = Computes(lambda self, city: self.city(city), city=nn.Embedding(5, 4))
    program = found(model, Dense("city", dtype=IDS))
    assert source(program) == ("flat_city", [1], [0], [1])
    assert [(table.name, table.rows, table.dim) for table in program.tables.values()] == [("city", 5, 4)]
    assert count(program, aten.embedding.default) == 0
    assert farthest(model, program) == 0


def test_columns_of_one_input_are_looked_up_where_they_are() -> None:
    model = Computes(
        lambda self, x: torch.cat([table(x[:, i]) for i, table in enumerate(self.tables)], dim=1),
        tables=nn.ModuleList([nn.Embedding(5, 4), nn.Embedding(6, 3), nn.Embedding(7, 2)]),
    )
    program = run_passes(captured(model, Dense("x", (3,), IDS)), [FindLookups(), BatchTables()])
    (call,) = lookup_calls(program)
    assert ([value.name for value in call.values], call.columns) == (["flat_x"], [3])
    assert (call.feature_row, call.feature_table) == ([0, 1, 2], [0, 1, 2])
    assert farthest(model, program) == 0


def test_ids_among_floats_are_made_whole_numbers_once() -> None:
    def function(self, x: Tensor) -> Tensor:
        parts = [self.a(x[:, 0:1].long()).squeeze(1), self.b(x[:, 1:2].long()).squeeze(1), x[:, 2:]]
        return torch.cat(parts, dim=1)

    model = Computes(function, a=nn.Embedding(5, 4), b=nn.Embedding(6, 3))
    program = run_passes(captured(model, Dense("x", (4,))), [FindLookups(), BatchTables()])
    (call,) = lookup_calls(program)
    (values,) = call.values
    assert (values.meta["val"].dtype, values.all_input_nodes[0].name, call.columns) == (IDS, "flat_x", [4])
    assert farthest(model, program) == 0


def test_a_narrow_slice_is_a_feature_a_column_and_a_history_a_lookup_of_its_own() -> None:
    narrow = Computes(lambda self, x: self.e(x[:, 1:4]).flatten(1), e=nn.Embedding(5, 4))
    assert source(found(narrow, Dense("x", (6,), IDS))) == ("flat_x", [6], [1, 2, 3], [1, 1, 1])
    history = Computes(lambda self, x: self.e(x[:, 1:20]).sum(1), e=nn.Embedding(5, 4))
    program = found(history, Dense("x", (24,), IDS))
    assert source(program)[1:] == ([1], [0], [1])
    assert farthest(narrow, found(narrow, Dense("x", (6,), IDS))) == 0
    assert farthest(history, program) < 1e-6


def test_ids_of_two_axes_and_of_a_jagged_input() -> None:
    grid = Computes(lambda self, x: self.e(x).sum(dim=(1, 2)), e=nn.Embedding(5, 4))
    assert farthest(grid, found(grid, Dense("x", (3, 2), IDS))) < 1e-6
    jagged = Computes(
        lambda self, ids: torch.segment_reduce(self.e(ids.values()), "sum", lengths=ids.lengths(), axis=0),
        e=nn.Embedding(5, 4),
    )
    program = found(jagged, Jagged("ids"))
    assert source(program) == ("flat_ids_values", [1], [0], [1])


@pytest.mark.proves("Plain PyTorch", "nn.EmbeddingBag, 2-D ids", "graph")
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_a_bag_of_two_dimensional_ids_is_one_feature(mode: str) -> None:
    model = Computes(lambda self, x: self.e(x), e=nn.EmbeddingBag(5, 4, mode=mode))
    program = found(model, Dense("x", (3,), IDS))
    assert source(program) == ("flat_x", [3], [0], [3])
    assert farthest(model, program) < 1e-6


@pytest.mark.proves("Plain PyTorch", "per-sample weights", "graph")
def test_a_bag_with_weights_of_its_own() -> None:
    model = Computes(lambda self, x, w: self.e(x, per_sample_weights=w), e=nn.EmbeddingBag(5, 4, mode="sum"))
    program = found(model, Dense("x", (3,), IDS), Dense("w", (3,)))
    assert [weights.name for weights in lookup_calls(program)[0].weights] == ["flat_w"]
    assert farthest(model, program) < 1e-6


@pytest.mark.proves("Plain PyTorch", "per-sample weights", "refusal")
@pytest.mark.parametrize(
    ("mode", "weights", "reason"),
    [("mean", 3, "only supported for mode='sum'"), ("sum", 2, "must have the same shape as the input")],
)
def test_weights_that_do_not_fit_a_bag_are_refused_with_the_line(mode: str, weights: int, reason: str) -> None:
    model = Computes(lambda self, x, w: self.e(x, per_sample_weights=w), e=nn.EmbeddingBag(5, 4, mode=mode))
    with pytest.raises(CaptureError, match=rf"(?s)at .*: .*per_sample_weights=w.*{reason}"):
        captured(model, Dense("x", (3,), IDS), Dense("w", (weights,)))


@pytest.mark.proves("Plain PyTorch", "nn.EmbeddingBag, offsets", "refusal")
def test_offsets_of_one_bag_too_many_are_refused_with_the_operator_that_makes_the_row() -> None:
    model = Computes(lambda self, ids: self.e(ids.values(), ids.offsets()), e=nn.EmbeddingBag(5, 4, mode="sum"))
    with pytest.raises(ValueError, match=r"by aten.embedding_bag.* self.e\(ids.values.*: give a row for each"):
        verify(captured(model, Jagged("ids")))


@pytest.mark.proves("Plain PyTorch", "nn.EmbeddingBag, offsets", "graph")
@pytest.mark.parametrize("last", [True, False])
def test_a_bag_with_offsets_finds_the_lengths_behind_them(last: bool) -> None:
    def function(self, ids) -> Tensor:
        offsets = torch.nn.functional.pad(ids.lengths().cumsum(0), (1, 0))
        return self.e(ids.values(), offsets if last else offsets[:-1])

    model = Computes(function, e=nn.EmbeddingBag(5, 4, mode="sum", include_last_offset=last))
    program = found(model, Jagged("ids"))
    (call,) = lookup_calls(program)
    assert [length and length.name for length in call.lengths] == ["flat_ids_lengths"]
    assert farthest(model, program) < 1e-6


@pytest.mark.parametrize("last", [True, False])
def test_other_offsets_are_made_lengths_in_the_graph(last: bool) -> None:
    def function(self, ids) -> Tensor:
        ends = ids.lengths().cumsum(0) * 1
        offsets = torch.cat([torch.zeros_like(ends[:1]), ends])
        return self.e(ids.values(), offsets if last else offsets[:-1])

    model = Computes(function, e=nn.EmbeddingBag(5, 4, mode="sum", include_last_offset=last))
    program = found(model, Jagged("ids"))
    assert count(program, EMBEDDING_BAGS) == 1
    assert farthest(model, program) < 1e-6


@pytest.mark.parametrize(
    ("ids", "last"),
    [
        pytest.param(
            lambda x: (x * 2654435761) % 5,
            "remainder",
            marks=[pytest.mark.proves("Plain PyTorch", one, "graph") for one in ("modulo", "hashing")],
        ),
        pytest.param(lambda x: x.clamp(0, 4), "clamp", marks=pytest.mark.proves("Plain PyTorch", "clamp", "graph")),
        pytest.param(
            lambda x: torch.bucketize(x, torch.tensor([1, 10, 100])),
            "bucketize",
            marks=pytest.mark.proves("Plain PyTorch", "bucketize", "graph"),
        ),
    ],
)
def test_ids_computed_in_the_graph_stay_in_front_of_the_lookup(ids, last: str) -> None:
    model = Computes(lambda self, x: self.e(ids(x)), e=nn.Embedding(5, 4))
    program = found(model, Dense("x", dtype=IDS))
    assert source(program)[0] == last
    assert farthest(model, program, ids=1000) == 0


@pytest.mark.proves("Plain PyTorch", "padding_idx", "graph")
def test_padding_that_is_a_zero_row_changes_nothing() -> None:
    model = Computes(lambda self, x: self.e(x), e=nn.EmbeddingBag(5, 4, mode="sum", padding_idx=0))
    assert farthest(model, found(model, Dense("x", (3,), IDS))) < 1e-6


@pytest.mark.proves("Plain PyTorch", "lists and dicts of tables", "graph")
def test_tables_in_lists_and_dicts_have_the_names_of_their_modules() -> None:
    parts = nn.ModuleDict({"city": nn.Embedding(5, 4), "more": nn.ModuleList([nn.Embedding(6, 4)])})
    model = Computes(lambda self, x: self.parts["city"](x) + self.parts["more"][0](x), parts=parts)
    program = found(model, Dense("x", dtype=IDS))
    assert [table.name for table in program.tables.values()] == ["parts.city", "parts.more.0"]


@pytest.mark.proves("Plain PyTorch", "nn.Embedding", "refusal")
@pytest.mark.proves("Plain PyTorch", "nn.EmbeddingBag, 2-D ids", "refusal")
@pytest.mark.proves("Plain PyTorch", "padding_idx", "refusal")
def test_what_is_no_table_lookup_is_declined_with_the_reason() -> None:
    x = Dense("x", (3,), IDS)
    maximum = Computes(lambda self, x: self.e(x), e=nn.EmbeddingBag(5, 4, mode="max"))
    assert "max pooling has no table-batched kernel" in declined(maximum, x)
    position = Computes(lambda self, x: self.e(torch.arange(3)) + x.unsqueeze(2), e=nn.Embedding(3, 4))
    assert "its ids do not come from the model's inputs" in declined(position, x)
    tied = Computes(lambda self, x: self.e(x) @ self.e.weight.t(), e=nn.Embedding(5, 4))
    assert "'model.e.weight' is read by 't" in declined(tied, x) or "as well" in declined(tied, x)
    mean = Computes(lambda self, x: self.e(x), e=nn.EmbeddingBag(5, 4, mode="mean", padding_idx=0))
    assert "padding (padding_idx) and would count in the mean" in declined(mean, x)
    double = Computes(lambda self, x: self.e(x).float(), e=nn.Embedding(5, 4, dtype=torch.float64))
    assert "is torch.float64; fp32 weights become tables" in declined(double, x)


def test_a_second_run_changes_nothing() -> None:
    model = Computes(lambda self, x: self.e(x[:, 0]), e=nn.Embedding(5, 4))
    once = run_passes(captured(model, Dense("x", (3,), IDS)), [RemoveIdentities(), FindLookups()])
    again = FindLookups().run(once)
    assert not again.changed
    assert again.program.graph is once.graph
