"""SplitStages: the graph becomes the DAG of stages that the runtime executes."""

from __future__ import annotations

import pytest
import torch
import zoo
from compiler.graphs import Computes, Towers, aten, captured, farthest, kjt, reasons
from compiler.stages import passes_until, shown, split
from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import QuantizeTables, TablePrecision
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.capture import capture
from recpile.pycompiler.program import Feature, Lookup, Source, Stage
from recpile.pycompiler.schema import Dense, TensorSpec


def targets(stage: Stage) -> list[object]:
    return [node.target for node in stage.graph.graph.nodes if node.op == "call_function"]


def ids_of(key: str, ids: Tensor) -> KeyedJaggedTensor:
    return KeyedJaggedTensor(keys=[key], values=ids, lengths=torch.ones_like(ids))


def bags(rows: int = 5, dim: int = 4, name: str = "t", key: str = "f0", **options: bool):
    return collection((name, rows, dim, [key]), **options)


def test_a_lookup_becomes_an_embedding_stage_and_the_rest_a_compiled_one() -> None:
    model = Computes(
        lambda self, x, sparse: torch.sigmoid(self.out(torch.cat([x, self.bags(sparse).values()], dim=1))),
        bags=collection(("t", 5, 4, ["f1"]), ("u", 5, 2, ["f0"])),
        out=nn.Linear(3 + 6, 1),
    )
    program = split(model, Dense("x", (3,)), kjt("f0", "f1"))
    assert shown(program) == [
        ("embedding", ("sparse.values", "sparse.lengths"), ["embedding/pooled"]),
        ("dense", ("x", "embedding/pooled"), ["dense/sigmoid"]),
    ]
    embedding, dense = program.stages
    features = (Feature(0, 1, "t"), Feature(0, 0, "u"))
    assert embedding.lookup == Lookup((Source("sparse.values", "sparse.lengths"),), features, "sum")
    assert embedding.outputs == (TensorSpec("embedding/pooled", torch.float32, ("candidate", 6)),)
    assert dense.outputs == (TensorSpec("dense/sigmoid", torch.float32, ("candidate", 1)),)
    assert program.outputs == ("dense/sigmoid",)
    assert farthest(model, program) == 0


def test_the_log_says_what_each_stage_takes() -> None:
    program = split(Computes(lambda self, sparse: self.bags(sparse).values() * 2, bags=bags()), kjt("f0"))
    assert reasons(program, "SplitStages", did=True) == {
        "embedding": "embedding: sparse.values, sparse.lengths",
        "dense": "compiled: embedding/pooled",
    }


def test_a_second_run_is_declined_with_the_reason() -> None:
    once = split(Computes(lambda self, sparse: self.bags(sparse).values() * 2, bags=bags()), kjt("f0"))
    again = SplitStages().run(once)
    assert not again.changed
    assert again.program == once
    assert reasons(again.program, "SplitStages", did=False) == {"stages": "are split already"}


def test_the_program_that_was_given_is_left_as_it_was() -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values() * 2, bags=bags())
    program = QuantizeTables().run(captured(model, kjt("f0"))).program
    before = str(program.graph.graph)
    assert SplitStages().run(program).program.stages != ()
    assert (str(program.graph.graph), program.stages, program.outputs) == (before, (), ())


def test_only_what_a_lookup_needs_goes_in_front_of_it() -> None:
    model = Computes(
        lambda self, x, city: self.out(torch.relu(self.mlp(x)) + self.bags(ids_of("f0", city * 7 % 5)).values()),
        bags=bags(),
        mlp=nn.Linear(3, 4),
        out=nn.Linear(4, 1),
    )
    program = split(model, Dense("x", (3,)), Dense("city", dtype=torch.int64))
    front, embedding, rest = program.stages
    assert [stage.name for stage in program.stages] == ["dense_0", "embedding", "dense_1"]
    assert (front.inputs, rest.inputs) == (("city",), ("x", "embedding/pooled"))
    assert aten.linear.default not in targets(front)
    assert targets(rest).count(aten.linear.default) == 2
    assert {spec.dtype for spec in front.outputs} == {torch.int64}
    assert set(embedding.inputs) == {spec.name for spec in front.outputs}
    assert farthest(model, program) == 0


def test_a_lookup_of_what_a_lookup_gave_is_a_level_of_its_own() -> None:
    def two_levels(self, sparse: KeyedJaggedTensor) -> Tensor:
        best = self.first(sparse).values().argmax(dim=1)
        return self.then(ids_of("g", best)).values().sum(dim=1)

    model = Computes(two_levels, first=bags(name="t"), then=bags(name="u", key="g"))
    program = split(model, kjt("f0"))
    assert [stage.kind for stage in program.stages] == ["embedding", "compiled", "embedding", "compiled"]
    first, best, then, score = program.stages
    assert best.inputs == tuple(spec.name for spec in first.outputs)
    assert set(then.inputs) == {spec.name for spec in best.outputs}
    assert score.inputs == tuple(spec.name for spec in then.outputs)
    assert farthest(model, program) == 0


def test_lookups_that_pool_differently_are_stages_beside_each_other() -> None:
    model = Towers(bags(name="t"), bags(name="u", mean=True))
    program = split(model, kjt("f0"))
    assert [(stage.name, stage.lookup and stage.lookup.pooling) for stage in program.stages] == [
        ("embedding_0", "sum"),
        ("embedding_1", "mean"),
        ("dense", None),
    ]
    assert farthest(model, program) < 1e-6


def test_an_output_may_be_an_input_a_lookup_or_given_twice() -> None:
    def forward(self, x: Tensor, sparse: KeyedJaggedTensor) -> tuple[Tensor, ...]:
        pooled = self.bags(sparse).values()
        score = self.out(pooled)
        return score, x, pooled, score

    model = Computes(forward, bags=bags(), out=nn.Linear(4, 1))
    program = split(model, Dense("x", (3,)), kjt("f0"), outputs=("a", "b", "c", "d"))
    assert program.outputs == ("dense/linear", "x", "embedding/pooled", "dense/linear")
    assert farthest(model, program) == 0


def test_a_model_that_is_one_lookup_has_no_compiled_stage() -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=bags())
    program = split(model, kjt("f0"))
    assert [stage.kind for stage in program.stages] == ["embedding"]
    assert farthest(model, program) == 0


def test_a_model_without_tables_is_one_compiled_stage() -> None:
    model = Computes(lambda self, x: self.out(x), out=nn.Linear(3, 1))
    program = split(model, Dense("x", (3,)))
    assert shown(program) == [("dense", ("x",), ["dense/linear"])]
    assert farthest(model, program) == 0


def test_a_size_is_computed_in_every_stage_that_needs_it() -> None:
    def forward(self, sparse: KeyedJaggedTensor) -> Tensor:
        rows = sparse.stride()
        pooled = self.bags(ids_of("f0", torch.arange(rows) % 5)).values()
        position = torch.arange(rows).unsqueeze(1)
        return pooled + position + pooled.new_ones(rows, 1) + self.bias.weight.expand(rows, 4)

    model = Computes(forward, bags=bags(), bias=nn.Linear(4, 1))
    program = split(model, kjt("f0"))
    assert [stage.inputs for stage in program.stages if stage.kind == "compiled"] == [
        ("sparse.lengths",),
        ("sparse.lengths", "embedding/pooled"),
    ]
    assert farthest(model, program) == 0


@pytest.mark.parametrize("cut", [lambda x: x.chunk(2, dim=1), lambda x: torch.split(x, [1, 1], dim=1)])
def test_the_parts_of_a_tuple_may_be_read_in_different_stages(cut) -> None:
    def forward(self, x: Tensor) -> Tensor:
        left, right = cut(x)
        return self.bags(ids_of("f0", left.squeeze(1).long())).values() * right

    model = Computes(forward, bags=bags())
    program = split(model, Dense("x", (2,)))
    assert [stage.name for stage in program.stages] == ["dense_0", "embedding", "dense_1"]
    # What crosses is the part that is read, not the tuple.
    assert "dense_0/getitem_1" in program.stages[2].inputs
    assert TensorSpec("dense_0/getitem_1", torch.float32, ("candidate", 1)) in program.stages[0].outputs
    assert farthest(model, program) == 0


def test_sizes_that_follow_from_the_batch_are_written_in_its_terms() -> None:
    model = Computes(
        lambda self, x: self.bags(
            KeyedJaggedTensor(keys=["f0"], values=x.reshape(-1), lengths=torch.full_like(x[:, 0], 3))
        ).values(),
        bags=bags(),
    )
    program = split(model, Dense("x", (3,), torch.int64))
    shapes = {spec.shape for spec in program.stages[0].outputs}
    assert shapes == {("3*candidate",), (1, "candidate")}
    assert farthest(model, program) == 0


def test_a_stage_holds_its_own_weights_and_no_table() -> None:
    model = Computes(lambda self, sparse: self.out(self.bags(sparse).values()), bags=bags(), out=nn.Linear(4, 1))
    embedding, dense = split(model, kjt("f0")).stages
    assert (dict(embedding.graph.state_dict), dict(embedding.graph.constants)) == ({}, {})
    assert embedding.graph.example_inputs is None
    assert {tuple(value.shape) for value in dense.graph.state_dict.values()} == {(1, 4), (1,)}


@pytest.mark.parametrize("name", ["tiny_dlrm", "two_sources", "hashed_ids", "mixed_pooling"])
def test_the_shared_models_answer_as_eager_does(name: str) -> None:
    model, schema = getattr(zoo, name)()
    program = run_passes(capture(model, schema, name), passes(TablePrecision(), "fp32"))
    assert farthest(model, program, ids=7) < 1e-6


@pytest.mark.proves("The passes", "split", "refusal")
def test_a_size_that_depends_on_the_data_cannot_cross_and_says_where_it_arose() -> None:
    class Filters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bags = collection(("a", 5, 4, ["f0"]))

        def forward(self, sparse):
            ids = sparse.values()[sparse.values() > 0]
            return self.bags(KeyedJaggedTensor(keys=["f0"], values=ids, lengths=sparse.lengths())).values()

    program = run_passes(captured(Filters(), kjt("f0")), passes_until(QuantizeTables))
    with pytest.raises(ValueError, match=r"\(.*: ids = .*\) would have .* depends on the data; reorder or filter ids"):
        SplitStages().run(program)
