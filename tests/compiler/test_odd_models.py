"""Odd but reasonable models: each compiles to what eager says, or is refused with the reason."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, farthest, kjt
from torch import Tensor, nn
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.packing import pack, unpack
from recpile.pycompiler.schema import Dense
from recpile.pycompiler.swap import CaptureError


def compiled(model, *inputs, outputs=("score",), tables="fp32", dense="fp32"):
    return run_passes(captured(model, *inputs, outputs=outputs), passes(TablePrecision(tables), dense))


def bags(name="t", key="f0", rows=5, dim=4, **k):
    return collection((name, rows, dim, [key]), **k)


def test_ids_changed_in_place_through_a_view_reach_the_lookup():  # silently wrong today
    def forward(self, x):
        x = x.clone()
        x[:, 0] = x[:, 0] % 2
        lengths = torch.full_like(x[:, 0], 3)
        return self.bags(KeyedJaggedTensor(keys=["f0"], values=x.reshape(-1), lengths=lengths)).values()

    model = Computes(forward, bags=bags())
    assert farthest(model, compiled(model, Dense("x", (3,), torch.int64))) == 0


def test_a_result_written_into_a_slice_is_seen():  # PassError today
    def forward(self, sparse):
        out = torch.zeros(sparse.stride(), 6)
        out[:, :4] = self.bags(sparse).values()
        return out

    model = Computes(forward, bags=bags())
    assert farthest(model, compiled(model, kjt("f0"))) == 0


@pytest.mark.parametrize("tables", ["fp32", "int8"])
def test_a_lookup_inside_an_autocast_block_is_a_lookup(tables):  # left fp32 inside the dense stage today
    def forward(self, sparse):
        with torch.autocast("cpu", enabled=False):
            return self.bags(sparse).values() * 2

    program = compiled(Computes(forward, bags=bags()), kjt("f0"), tables=tables)
    assert [stage.kind for stage in program.stages] == ["embedding", "compiled"]


@pytest.mark.parametrize("branch", [lambda rows: rows > 4, lambda rows: rows < 100, lambda rows: rows % 2 == 0])
def test_a_branch_on_the_batch_size_is_refused(branch):  # one side is taken silently today
    model = Computes(lambda self, x: x * 2 if branch(x.shape[0]) else x)
    with pytest.raises(CaptureError, match="candidate"):
        captured(model, Dense("x", (3,)))


def test_lookups_over_inputs_that_never_meet_are_one():  # two stages today
    model = Computes(lambda self, a, b: (self.one(a).values(), self.two(b).values()), one=bags("t"), two=bags("u"))
    program = compiled(model, kjt("f0", name="a"), kjt("f0", name="b"), outputs=("a", "b"))
    assert [stage.kind for stage in program.stages].count("embedding") == 1


def test_merging_one_kind_does_not_make_a_circle_of_another():  # "Input graph has cycles" today
    def ids(pooled: Tensor) -> KeyedJaggedTensor:
        found = (pooled.sum(dim=1).abs() * 100).long() % 5
        return KeyedJaggedTensor(keys=["f0"], values=found, lengths=torch.ones_like(found))

    def forward(self, sparse):
        first = self.mean1(ids(self.sum1(sparse).values())).values()
        return first + self.sum2(ids(self.mean2(sparse).values())).values()

    parts = {"sum1": bags("a"), "sum2": bags("b"), "mean1": bags("c", mean=True), "mean2": bags("d", mean=True)}
    model = Computes(forward, **parts)
    assert farthest(model, compiled(model, kjt("f0"))) < 1e-6


@pytest.mark.parametrize(
    "between",
    [
        lambda h, x: h * x.long().float(),
        lambda h, x: torch.cat([h[:, :4], torch.zeros(h.shape[0], 4)], dim=1),
        lambda h, x: h.float(),
        lambda h, x: h + nn.functional.one_hot(x[:, 0].long().clamp(0, 7), 8).float(),
        lambda h, x: torch.cat([torch.topk(h, 4, dim=1)[0], h[:, :4]], dim=1),
    ],
    ids=["int to float", "zeros", "float()", "one_hot", "topk"],
)
def test_a_type_that_the_model_fixes_stays_and_the_layers_around_it_are_cast(between):  # export refused today
    def forward(self, x):
        return self.out(torch.relu(self.second(between(torch.relu(self.first(x)), x[:, :1]))))

    model = Computes(forward, first=nn.Linear(6, 8), second=nn.Linear(8, 8), out=nn.Linear(8, 1))
    program = compiled(model, Dense("x", (6,)), dense="bf16")
    types = [n.meta["val"].dtype for n in program.stages[0].graph.graph.nodes if n.target is aten.linear.default]
    assert types == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert farthest(model, program, ids=1) < 0.05


def test_features_are_normalized_in_fp32():  # off by more than 0.1 today: a timestamp has 31 bits, bf16 has 8
    torch.manual_seed(0)
    model = Computes(
        lambda self, x: self.out(torch.relu(self.first((x * 1e7 + 1.7e9 - 1.7e9) / 1e7))),
        first=nn.Linear(6, 64),
        out=nn.Linear(64, 1),
    )
    assert farthest(model, compiled(model, Dense("x", (6,)), dense="bf16")) < 0.1


@pytest.mark.parametrize("name", ["user-id", "user id", "a:b/c"])
def test_a_table_may_have_any_name_that_torchrec_takes(name):  # "invalid syntax (<eval_with_key>…)" today
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=bags(name))
    assert farthest(model, compiled(model, kjt("f0"))) == 0


def test_paths_that_differ_by_a_dot_only():  # "duplicate argument … in function definition" today
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.user = nn.ModuleDict({"bags": bags()})
            self.user_bags = bags()

        def forward(self, sparse):
            return self.user["bags"](sparse).values() + self.user_bags(sparse).values()

    model = Two()
    assert farthest(model, compiled(model, kjt("f0"))) == 0


def test_a_lookup_whose_result_is_not_used_is_left_out():  # PassError today
    def forward(self, sparse):
        self.aux(sparse).values()
        return self.bags(sparse).values()

    program = compiled(Computes(forward, bags=bags("t"), aux=bags("aux")), kjt("f0"))
    assert [table.name for table in program.tables.values()] == ["t"]


class Doubled(EmbeddingBagCollection):
    def forward(self, features):
        pooled = super().forward(features)
        return KeyedTensor(pooled.keys(), pooled.length_per_key(), pooled.values() * 2)


def test_a_collection_with_a_forward_of_its_own_is_refused():  # its forward is dropped silently today
    made = bags()
    made.__class__ = Doubled
    with pytest.raises(CaptureError, match="'bags' is a Doubled with a forward or hooks of its own"):
        captured(Computes(lambda self, sparse: self.bags(sparse).values(), bags=made), kjt("f0"))


def test_a_collection_with_hooks_is_refused():  # the hook is dropped silently today
    made = bags()
    made.register_forward_hook(lambda module, given, pooled: pooled)
    with pytest.raises(CaptureError, match="hooks of its own"):
        captured(Computes(lambda self, sparse: self.bags(sparse).values(), bags=made), kjt("f0"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_model_that_was_cast_is_refused(dtype):  # a raw matmul error at the very end today
    model = Computes(lambda self, sparse: self.out(self.bags(sparse).values()), bags=bags(), out=nn.Linear(4, 1))
    with pytest.raises(CaptureError, match=f"table 't': its weight is {dtype}"):
        captured(model.to(dtype), kjt("f0"))


@pytest.mark.parametrize("function", [lambda x: x.reshape(-1), lambda x: x.repeat(2, 1)], ids=["6B", "2B"])
def test_an_output_of_another_length_than_the_batch_is_refused(function):  # accepted today; cannot be split again
    with pytest.raises(ValueError, match="its first axis must be 'candidate'"):
        verify(captured(Computes(lambda self, x: function(x)), Dense("x", (6,))))


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_a_table_of_one_row_and_odd_width(dim):  # RuntimeError from view() today
    row = torch.rand(1, dim)
    assert (unpack(pack(row, "int8"), "int8", dim) - row).abs().max() < 0.01
