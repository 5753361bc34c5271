"""StackBranches: branches of one shape over one input run as one."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, aten, captured, reasons
from compiler.layers import fused, operators, relative
from torch import Tensor, nn

from recpile.passes.base import run_passes
from recpile.passes.cast_dense import CastDense
from recpile.passes.split_stages import SplitStages
from recpile.passes.stack_branches import StackBranches
from recpile.pycompiler.program import Program
from recpile.pycompiler.schema import Dense


def expert(*, hidden: int = 5, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(6, hidden, bias=bias), nn.GELU(approximate="tanh"), nn.Linear(hidden, 4, bias=bias))


def mixture(*experts: nn.Module) -> tuple[nn.Module, Program]:
    """The experts' results side by side, of one input x [B, 6]."""
    torch.manual_seed(0)
    model = Computes(
        lambda self, x: torch.stack([one(x) for one in self.experts], dim=1).flatten(1), experts=nn.ModuleList(experts)
    )
    return model, captured(model, Dense("x", (6,)))


def three() -> tuple[nn.Module, Program]:
    return mixture(expert(), expert(), expert())


@pytest.mark.proves("Plain PyTorch", "mixture of experts", "graph")
@pytest.mark.proves("The passes", "fusion", "graph")
@pytest.mark.proves("The passes", "parallel layers as one", "graph")
def test_experts_become_one_wide_layer_and_one_batched_product() -> None:
    model, program = three()
    assert operators(program).count("linear") == 6
    after = fused(program, StackBranches())
    computed = [one for one in operators(after) if one != "sym_size"]
    assert computed[:7] == ["linear", "gelu", "view", "transpose", "clone", "bmm", "add"]
    assert operators(after).count("linear") == 1
    assert relative(model, after) < 1e-6


def wide(count: int, hidden: int) -> tuple[nn.Module, Program]:
    return mixture(*(nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 4)) for _ in range(count)))


@pytest.mark.parametrize(("dtype", "products"), [("fp32", 2), ("bf16", 1)])
def test_in_fp32_no_more_are_stacked_than_fit_the_cache(dtype: str, products: int) -> None:
    model, program = wide(5, 128)
    after = fused(program, StackBranches(dtype))
    assert operators(after).count("bmm") == products
    assert relative(model, after) < 1e-6


def test_branches_that_are_too_wide_for_two_are_declined_in_fp32() -> None:
    _, program = wide(3, 300)
    result = StackBranches().run(program)
    assert not result.changed
    (reason,) = reasons(result.program, "StackBranches", did=False).values()
    assert reason.startswith("are 300 columns wide each: two in fp32 would leave the cache")


def test_an_unknown_type_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="dense dtype: got 'fp8'; use one of fp32, bf16"):
        StackBranches("fp8")


def test_the_log_names_the_first_layer_of_each() -> None:
    _, program = three()
    did = reasons(StackBranches().run(program).program, "StackBranches", did=True)
    assert did == {"linear, linear_2, linear_4": "3 branches of 2 layers become one"}


def test_the_weights_are_stacked_not_copied() -> None:
    _, program = three()
    shapes = [list(value.shape) for value in fused(program, StackBranches()).graph.state_dict.values()]
    assert sorted(shapes) == [[3, 1, 4], [3, 5, 4], [15], [15, 6]]


def test_a_second_run_changes_nothing() -> None:
    _, program = three()
    once = fused(program, StackBranches())
    again = StackBranches().run(once)
    assert not again.changed
    assert again.program.graph is once.graph


def test_heads_of_one_layer_become_one_layer_and_a_split() -> None:
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(self.click(x)).squeeze(1), torch.sigmoid(self.buy(x)).squeeze(1)

    torch.manual_seed(0)
    model = Computes(forward, click=nn.Linear(6, 1), buy=nn.Linear(6, 1))
    after = fused(captured(model, Dense("x", (6,)), outputs=("click", "buy")), StackBranches())
    assert operators(after)[:3] == ["linear", "sigmoid", "split"]
    assert relative(model, after) < 1e-6


def test_branches_without_biases_stay_without() -> None:
    model, program = mixture(expert(bias=False), expert(bias=False))
    after = fused(program, StackBranches())
    assert "add" not in operators(after)
    assert relative(model, after) < 1e-6


def test_experts_and_gates_over_one_input_are_two_groups() -> None:
    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.stack([one(x) for one in self.experts], dim=1)
        return torch.cat([(gate(x).softmax(1).unsqueeze(2) * mixed).sum(1) for gate in self.gates], dim=1)

    torch.manual_seed(0)
    model = Computes(
        forward,
        experts=nn.ModuleList([expert(), expert(), expert()]),
        gates=nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)]),
    )
    after = fused(captured(model, Dense("x", (6,))), StackBranches())
    assert list(reasons(after, "StackBranches", did=True).values()) == [
        "3 branches of 2 layers become one",
        "2 branches of 1 layers become one",
    ]
    assert relative(model, after) < 1e-6


@pytest.mark.proves("Plain PyTorch", "mixture of experts", "refusal")
@pytest.mark.parametrize(
    "experts",
    [
        (expert(hidden=5), expert(hidden=7)),
        (expert(), expert(bias=False)),
        (expert(), nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))),
    ],
    ids=["of another width", "without bias", "with another activation"],
)
def test_branches_that_differ_are_left(experts) -> None:
    _, program = mixture(*experts)
    result = StackBranches().run(program)
    assert not result.changed
    assert result.program.graph is program.graph


@pytest.mark.proves("The passes", "parallel layers as one", "refusal")
def test_branches_that_share_weights_with_another_layer_are_declined() -> None:
    one, other = nn.Linear(6, 6), nn.Linear(6, 6)
    model = Computes(lambda self, x: torch.relu(one(torch.relu(x))) + one(x) * other(other(x)), one=one, other=other)
    result = StackBranches().run(captured(model, Dense("x", (6,))))
    assert not result.changed


def test_a_layer_in_front_of_an_output_is_not_stacked_with_one_that_bf16_may_take() -> None:
    # CastDense leaves an output's last layer in fp32; in one product with it, the inner layer would stay in fp32 too.
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.shared(x))
        return self.click(hidden), self.out(torch.relu(self.inner(hidden)))

    torch.manual_seed(0)
    layers = {"shared": nn.Linear(6, 8), "click": nn.Linear(8, 4), "inner": nn.Linear(8, 4), "out": nn.Linear(4, 1)}
    program = captured(Computes(forward, **layers), Dense("x", (6,)), outputs=("click", "score"))
    assert not StackBranches().run(program).changed


def test_stacked_layers_run_in_bf16() -> None:
    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.stack([one(x) for one in self.experts], dim=1).sum(1))

    torch.manual_seed(0)
    model = Computes(forward, experts=nn.ModuleList([expert(), expert()]), out=nn.Linear(4, 1))
    program = run_passes(captured(model, Dense("x", (6,))), [StackBranches(), SplitStages(), CastDense("bf16")])
    (stage,) = program.stages
    (product,) = [node for node in stage.graph.graph.nodes if node.target is aten.bmm.default]
    assert product.meta["val"].dtype == torch.bfloat16
    assert 0 < relative(model, program) < 0.02
