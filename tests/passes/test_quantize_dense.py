"""QuantizeDense: linear layers in int8, row by row or over calibrated ranges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiler.dense_types import exact_products
from compiler.graphs import Computes, aten, captured, farthest, reasons
from compiler.stages import mlp
from torch import Tensor, nn

from recpile.passes.base import PassError, run_passes
from recpile.passes.int8_linear import Range, range_of
from recpile.passes.quantize_dense import QuantizeDense
from recpile.passes.remove_identities import RemoveIdentities
from recpile.passes.split_stages import SplitStages
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.run_stages import run_stages
from recpile.pycompiler.schema import Dense

quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
qlinear = torch.ops.onednn.qlinear_pointwise.default
X = Dense("x", (64,))


def calibration(rows: int = 500, **other: np.ndarray) -> EvalData:
    x = np.random.default_rng(0).standard_normal((rows, 64), dtype=np.float32)
    return EvalData("rows", {"x": x, **other}, np.zeros(rows))


def quantized(model: nn.Module, dtype: str, *inputs: Dense, outputs: tuple[str, ...] = ("score",)) -> Program:
    program = captured(model, *(inputs or (X,)), outputs=outputs)
    return run_passes(program, [RemoveIdentities(), SplitStages(), QuantizeDense(dtype, calibration())])


def targets(stage: Stage) -> list[object]:
    return [node.target for node in stage.graph.graph.nodes if node.op == "call_function"]


def deep() -> nn.Module:
    torch.manual_seed(0)
    body, out = mlp(64, 128, 96, 64), nn.Linear(64, 1)
    return Computes(lambda self, x: torch.sigmoid(self.out(self.body(x))).squeeze(1), body=body, out=out)


def error_on_calibration_rows(model: nn.Module, program: Program) -> float:
    """The largest difference: elsewhere int8-static may saturate."""
    x = torch.from_numpy(calibration().inputs["x"])
    with torch.no_grad():
        return float((run_stages(program, {"x": x})[0] - model(x=x)).abs().max())


def test_row_by_row_each_row_has_a_scale_of_its_own() -> None:
    model = Computes(lambda self, x: self.out(self.first(x)).squeeze(1), first=nn.Linear(64, 32), out=nn.Linear(32, 1))
    (stage,) = quantized(model, "int8").stages
    casts = (aten._assert_tensor_metadata.default, aten._to_copy.default)
    assert [one for one in targets(stage) if one not in casts] == [
        *(aten.abs.default, aten.amax.default, aten.clamp_min.default, aten.mul.Tensor),  # the rows' scales
        *(aten.div.Tensor, aten.round.default, aten.clamp.default),  # the codes
        *(aten._int_mm.default, aten.mul.Tensor, aten.mul.Tensor, aten.add.Tensor),
        *(aten.linear.default, aten.squeeze.dim),  # the last layer
    ]


def test_over_ranges_codes_go_from_layer_to_layer() -> None:
    (stage,) = quantized(deep(), "int8-static").stages
    layers = [node for node in stage.graph.graph.nodes if node.target is qlinear]
    assert [node.meta["val"].dtype for node in layers] == [torch.uint8, torch.uint8, torch.float32]
    assert [node.args[10] for node in layers] == ["relu", "relu", "relu"]
    assert targets(stage).count(quantize) == 1
    assert aten.relu.default not in targets(stage)


@exact_products
@pytest.mark.proves("The passes", "dense precision", "graph")
@pytest.mark.parametrize(("dtype", "at_most"), [("int8", 2e-3), ("int8-static", 2e-2)])
def test_answers_are_close_to_the_models(dtype: str, at_most: float) -> None:
    model = deep()
    assert 0 < error_on_calibration_rows(model, quantized(model, dtype)) < at_most


@exact_products
def test_row_by_row_needs_no_rows_to_be_right_anywhere() -> None:
    model = deep()
    assert farthest(model, quantized(model, "int8")) < 2e-3


@pytest.mark.parametrize("dtype", ["int8", "int8-static"])
def test_a_rows_answer_does_not_depend_on_its_company(dtype: str) -> None:
    program = quantized(deep(), dtype)
    x = torch.randn(5, 64) * torch.tensor([0.01, 1, 100, 1, 0])[:, None]
    (together,) = run_stages(program, {"x": x})
    alone = torch.cat([run_stages(program, {"x": one[None]})[0] for one in x])
    # Sums of int8 products are exact; what is fp32 around them may be rounded as vectors fall.
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@exact_products
def test_a_layer_over_more_axes_and_one_without_bias() -> None:
    model = Computes(
        lambda self, x: self.out(torch.relu(self.inner(x.view(-1, 2, 32))).sum(1)).squeeze(1),
        inner=nn.Linear(32, 32, bias=False),
        out=nn.Linear(32, 1),
    )
    for dtype in ("int8", "int8-static"):
        program = quantized(model, dtype)
        assert program.stages[0].precision == dtype
        assert error_on_calibration_rows(model, program) < 0.1


@exact_products
def test_layers_that_read_the_same_share_its_codes_and_a_reader_of_another_type_gets_fp32() -> None:
    model = Computes(
        lambda self, x: (
            lambda h: self.out(torch.cat([self.a(h), self.b(h), torch.tanh(h)], dim=1)).squeeze(1)
        )(torch.relu(self.first(x))),
        first=nn.Linear(64, 64), a=nn.Linear(64, 32), b=nn.Linear(64, 32), out=nn.Linear(128, 1),
    )  # fmt: skip
    program = quantized(model, "int8-static")
    (stage,) = program.stages
    assert targets(stage).count(quantize) == 2
    assert [node.meta["val"].dtype for node in stage.graph.graph.nodes if node.target is qlinear] == [torch.float32] * 3
    assert error_on_calibration_rows(model, program) < 0.1


def test_bytes_and_errors_of_each_layer_are_written_down() -> None:
    model = deep()
    (stage,) = quantized(model, "int8").stages
    first, *_, last = stage.layers
    assert (first.name, first.dtype, first.bytes) == ("body.0", "int8", 64 * 128)
    weight = dict(model.named_parameters())["body.0.weight"]
    step = float(weight.abs().amax(1).max() / 127)
    assert step / 4 < first.error.max <= step / 2 + 1e-7
    assert (last.name, last.dtype, last.error.max) == ("out", "fp32", 0.0)


def test_what_stays_fp32_says_why() -> None:
    model = Computes(
        lambda self, x: self.out(
            torch.cat([self.small(x), torch.bmm(self.first(x).view(-1, 8, 8), x.view(-1, 8, 8)).flatten(1)], dim=1)
        ).squeeze(1),
        small=nn.Linear(64, 31), first=nn.Linear(64, 64), out=nn.Linear(95, 1),
    )  # fmt: skip
    program = quantized(model, "int8")
    assert reasons(program, "QuantizeDense", did=True) == {"dense": "1 layers in int8"}
    assert reasons(program, "QuantizeDense", did=False) == {
        "dense: small": "is 64 x 31: below 32 int8 costs more than it saves, it stays fp32",
        "dense: bmm": "is no linear layer with a weight of its own: int8 has no kernel for it, it stays fp32",
        "dense: out": "stays fp32 in front of an output",
    }


@pytest.mark.proves("The passes", "dense precision", "refusal")
def test_int8_static_without_calibration_rows_or_with_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match=r"int8-static needs calibration rows.* give --calibration FILE, or use int8"):
        QuantizeDense("int8-static")
    with pytest.raises(ValueError, match="int8-static: rows has 99 rows; give at least 100, as what goes beyond"):
        QuantizeDense("int8-static", calibration(99))


def test_calibration_rows_that_blow_a_layer_up_are_refused() -> None:
    first, out = nn.Linear(64, 64), nn.Linear(64, 1)
    model = Computes(lambda self, x: self.out(self.first(x / 0)).squeeze(1), first=first, out=out)
    with pytest.raises(
        PassError, match=r"layer '.*', aten.linear.default .*: its input is not finite on the calibration rows"
    ):
        quantized(model, "int8-static")


def test_a_second_run_changes_nothing() -> None:
    for dtype in ("int8", "int8-static"):
        assert not QuantizeDense(dtype, calibration()).run(quantized(deep(), dtype)).changed


def test_a_range_holds_zero_and_cuts_what_is_rare_and_far_off() -> None:
    assert range_of(torch.linspace(1, 2, 1000)) == Range(2 / 255, 0)
    assert range_of(torch.zeros(3)) == Range(1.0, 0)
    torch.manual_seed(0)
    values = torch.cat([torch.randn(100_000), Tensor([30.0])])
    assert range_of(values).scale < 0.9 * float(values.max() - values.min()) / 255
