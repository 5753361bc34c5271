"""CastDense: the layers of compiled stages in bf16, each output's last layer in fp32."""

from __future__ import annotations

import pytest
import torch
from compiler.dense_types import cast, layers
from compiler.graphs import Computes, farthest, kjt, reasons
from compiler.stages import BOTH, TwoTowers, split
from torch import Tensor, nn
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.cast_dense import CastDense
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense

BF16, FP32 = torch.bfloat16, torch.float32


def mlp() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())
    return Computes(lambda self, x: self.layers(x), layers=model)


def rounded(model: nn.Module, program: Program, ids: int = 1) -> None:
    """Answers differ from eager as bf16 does: a little, but not by nothing."""
    assert 0 < farthest(model, program, ids) < 0.02


def test_inner_layers_run_in_bf16_and_the_last_in_fp32() -> None:
    model = mlp()
    program = cast(model, Dense("x", (6,)))
    (stage,) = program.stages
    assert layers(stage) == [BF16, BF16, FP32]
    assert stage.precision == "bf16"
    assert reasons(program, "CastDense", did=True) == {"dense": "2 layers in bf16"}
    rounded(model, program)


def test_only_the_ends_are_cast_not_every_layer() -> None:
    (stage,) = cast(mlp(), Dense("x", (6,))).stages
    types = [
        (node.all_input_nodes[0].meta["val"].dtype, node.meta["val"].dtype)
        for node in stage.graph.graph.nodes
        if node.op == "call_function" and node.meta.get("val") is not None
    ]
    assert [pair for pair in types if pair[0] != pair[1]] == [(FP32, BF16), (BF16, FP32)]


def test_weights_of_cast_layers_are_kept_in_bf16_only() -> None:
    (stage,) = cast(mlp(), Dense("x", (6,))).stages
    types = {fqn: value.dtype for fqn, value in stage.graph.state_dict.items()}
    inner = [f"model.layers.{at}.{what}_bf16" for at in (0, 2) for what in ("weight", "bias")]
    assert types == {
        **dict.fromkeys(inner, BF16),
        **dict.fromkeys(["model.layers.4.weight", "model.layers.4.bias"], FP32),
    }


def test_what_a_stage_takes_and_gives_keeps_its_type() -> None:
    plain, (stage,) = cast(mlp(), Dense("x", (6,)), dtype="fp32").stages[0], cast(mlp(), Dense("x", (6,))).stages
    assert (stage.inputs, stage.outputs) == (plain.inputs, plain.outputs)


def test_fp32_is_declined_because_it_is_what_a_stage_is_already() -> None:
    program = cast(mlp(), Dense("x", (6,)), dtype="fp32")
    assert reasons(program, "CastDense", did=False) == {"dense stages": "fp32 was asked for"}
    assert not CastDense("fp32").run(program).changed
    assert [stage.precision for stage in program.stages] == ["fp32"]


def test_a_second_run_changes_nothing_and_says_why() -> None:
    once = cast(mlp(), Dense("x", (6,)))
    again = CastDense("bf16").run(once)
    assert not again.changed
    assert again.program.stages == once.stages
    assert reasons(again.program, "CastDense", did=False) == {"dense": "is bf16 already"}


def test_the_program_that_was_given_is_left_as_it_was() -> None:
    program = cast(mlp(), Dense("x", (6,)), dtype="fp32")
    before = str(program.stages[0].graph.graph)
    assert CastDense("bf16").run(program).changed
    assert str(program.stages[0].graph.graph) == before
    assert {value.dtype for value in program.stages[0].graph.state_dict.values()} == {FP32}


def test_a_stage_without_inner_layers_is_declined() -> None:
    program = cast(Computes(lambda self, x: torch.sigmoid(self.out(x)), out=nn.Linear(6, 1)), Dense("x", (6,)))
    assert reasons(program, "CastDense", did=False) == {"dense": "has no layer in front of its outputs' last ones"}
    assert [stage.precision for stage in program.stages] == ["fp32"]


def test_embedding_stages_are_not_touched() -> None:
    model = Computes(
        lambda self, sparse: self.layers(self.bags(sparse).values()),
        bags=collection(("t", 5, 6, ["f0"])),
        layers=mlp().get_submodule("layers"),
    )
    program = cast(model, kjt("f0"))
    assert [(stage.name, stage.precision) for stage in program.stages] == [("embedding", "fp32"), ("dense", "bf16")]
    assert list(reasons(program, "CastDense", did=True)) == ["dense"]
    rounded(model, program)


def test_every_output_keeps_its_own_last_layer() -> None:
    model = Computes(
        lambda self, x: (self.click(torch.relu(self.shared(x))), self.buy(torch.relu(self.shared(x)))),
        shared=nn.Linear(6, 8),
        click=nn.Linear(8, 1),
        buy=nn.Linear(8, 1),
    )
    program = cast(model, Dense("x", (6,)), outputs=("click", "buy"))
    assert sorted(layers(program.stages[0]), key=str) == [BF16, BF16, FP32, FP32]
    rounded(model, program)


def test_a_value_that_kept_and_cast_layers_read_is_cast_for_each() -> None:
    def two_depths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.first(x))
        return self.shallow(hidden), self.deep(torch.relu(self.second(hidden)))

    model = Computes(
        two_depths, first=nn.Linear(6, 8), second=nn.Linear(8, 8), shallow=nn.Linear(8, 1), deep=nn.Linear(8, 1)
    )
    program = cast(model, Dense("x", (6,)), outputs=("shallow", "deep"))
    (stage,) = program.stages
    types = {fqn: value.dtype for fqn, value in stage.graph.state_dict.items() if "weight" in fqn}
    assert types == {
        "model.first.weight_bf16": BF16,
        "model.second.weight_bf16": BF16,
        "model.shallow.weight": FP32,
        "model.deep.weight": FP32,
    }
    assert sorted(layers(stage), key=str) == [BF16, BF16, FP32, FP32]
    rounded(model, program)


def test_a_weight_that_kept_and_cast_layers_share_stays_in_fp32() -> None:
    model = Computes(lambda self, x: self.same(torch.relu(self.same(x))), same=nn.Linear(6, 6))
    program = cast(model, Dense("x", (6,)))
    (stage,) = program.stages
    assert layers(stage) == [BF16, FP32]
    assert {fqn: value.dtype for fqn, value in stage.graph.state_dict.items()} == {
        "model.same.weight": FP32,
        "model.same.bias": FP32,
    }
    rounded(model, program)


@pytest.mark.parametrize("cut", [lambda x: x.chunk(2, dim=1), lambda x: torch.split(x, [4, 4], dim=1)])
def test_the_parts_of_a_tuple_between_layers_have_one_type(cut) -> None:
    def gated(self, x: Tensor) -> Tensor:
        value, gate = cut(self.first(x))
        return self.out(torch.relu(self.second(value * torch.sigmoid(gate))))

    model = Computes(gated, first=nn.Linear(6, 8), second=nn.Linear(4, 4), out=nn.Linear(4, 1))
    program = cast(model, Dense("x", (6,)))
    assert layers(program.stages[0]) == [BF16, BF16, FP32]
    rounded(model, program)


def test_the_parts_of_a_tuple_that_is_an_output_stay_in_fp32_together() -> None:
    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        value, gate = self.second(torch.relu(self.first(x))).chunk(2, dim=1)
        return gate, self.out(torch.relu(self.third(torch.relu(value))))

    model = Computes(both, first=nn.Linear(6, 8), second=nn.Linear(8, 8), third=nn.Linear(4, 4), out=nn.Linear(4, 1))
    program = cast(model, Dense("x", (6,)), outputs=("gate", "score"))
    assert layers(program.stages[0]) == [BF16, FP32, BF16, FP32]
    rounded(model, program)


def test_integers_are_not_cast() -> None:
    def forward(self, x: Tensor, city: Tensor) -> dict[str, Tensor]:
        score = self.out(torch.relu(self.inner(x)) * city.unsqueeze(1))
        return {"score": score, "next": city + 1}

    model = Computes(forward, inner=nn.Linear(6, 8), out=nn.Linear(8, 1))
    program = cast(model, Dense("x", (6,)), Dense("city", dtype=torch.int64), outputs=("score", "next"))
    assert [spec.dtype for spec in program.stages[0].outputs] == [FP32, torch.int64]
    rounded(model, program, ids=3)


def test_a_type_that_the_model_fixes_is_kept_and_the_layer_behind_it_is_cast_again() -> None:
    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x)).to(torch.float32)
        return self.out(torch.relu(self.second(hidden)))

    model = Computes(forward, first=nn.Linear(6, 8), second=nn.Linear(8, 8), out=nn.Linear(8, 1))
    program = cast(model, Dense("x", (6,)))
    assert program.stages[0].precision == "bf16"
    rounded(model, program)


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="dense dtype: got 'fp8'; use one of fp32, bf16"):
        CastDense("fp8")


def test_what_one_stage_gives_another_may_come_from_a_bf16_layer() -> None:
    program = run_passes(split(TwoTowers(1024), *BOTH), [CastDense("bf16")])
    assert [stage.precision for stage in program.stages] == ["bf16", "bf16", "fp32"]
    for tower in program.stages[:2]:
        assert set(layers(tower)) == {BF16}
        assert {spec.dtype for spec in tower.outputs} == {FP32}
