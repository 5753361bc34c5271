"""LookupsInBf16: what only bf16 layers read is written in bf16 by the lookup."""

from __future__ import annotations

import torch
from compiler.graphs import Computes, aten, captured, draw, kjt, reasons
from torch import nn
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.lookups_in_bf16 import LookupsInBf16
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.program import Program
from recpile.pycompiler.run_stages import run_stages, stage_values
from recpile.pycompiler.schema import Dense

BAGS = {"bags": collection(("t", 20, 8, ["f0"]), ("u", 30, 8, ["f1"]))}


def without(model: nn.Module, dense: str = "bf16", **outputs: tuple[str, ...]) -> Program:
    """All passes but this one."""
    inputs = (Dense("x", (8,)), kjt("f0", "f1"))
    every = [one for one in passes(TablePrecision("int8"), dense) if not isinstance(one, LookupsInBf16)]
    return run_passes(captured(model, *inputs, **outputs), every)


def reads_all() -> nn.Module:
    torch.manual_seed(0)
    return Computes(
        lambda self, x, sparse: self.out(
            torch.relu(self.inner(self.bags(sparse).values().view(-1, 2, 8).flatten(1))) * self.other(x)
        ).squeeze(1),
        inner=nn.Linear(16, 8),
        other=nn.Linear(8, 8),
        out=nn.Linear(8, 1),
        **BAGS,
    )


def casts(program: Program) -> int:
    nodes = [node for stage in program.stages for node in stage.graph.graph.nodes if node.op == "call_function"]
    return sum(node.target is aten._to_copy.default and node.meta["val"].dtype == torch.bfloat16 for node in nodes)


def test_the_lookup_gives_bf16_and_the_cast_is_gone() -> None:
    before = without(reads_all())
    result = LookupsInBf16().run(before)
    assert result.changed
    embedding, dense = result.program.stages
    assert embedding.outputs[0].dtype == torch.bfloat16
    assert casts(result.program) == casts(before) - 1
    assert reasons(result.program, "LookupsInBf16", did=True) == {"embedding": f"gives bf16 to {dense.name}"}


def test_the_numbers_differ_by_a_step_of_bf16_at_most() -> None:
    before = without(reads_all())
    after = LookupsInBf16().run(before).program
    for rows in (1, 2, 17):
        flat = draw(before.schema, rows, ids=20, seed=rows)
        plain, half = stage_values(before, flat), stage_values(after, flat)
        torch.testing.assert_close(half["embedding/pooled"].float(), plain["embedding/pooled"], rtol=2**-8, atol=0)
        scores = [run_stages(one, flat)[0] for one in (before, after)]
        assert (scores[0] - scores[1]).abs().max() < 0.02 * scores[0].abs().max()


def test_values_that_are_read_in_fp32_too_stay_fp32() -> None:
    model = Computes(
        lambda self, x, sparse: (
            lambda v: self.out(torch.cat([self.inner(v), self.other(x)], dim=1)).squeeze(1) + v.sum(1)
        )(self.bags(sparse).values()),
        inner=nn.Linear(16, 8), other=nn.Linear(8, 8), out=nn.Linear(16, 1), **BAGS,
    )  # fmt: skip
    result = LookupsInBf16().run(without(model))
    assert not result.changed
    assert reasons(result.program, "LookupsInBf16", did=False) == {"embedding": "'sum_1' reads its fp32 values"}


def test_values_that_the_model_gives_stay_fp32() -> None:
    model = Computes(lambda self, x, sparse: self.bags(sparse).values(), **BAGS)
    result = LookupsInBf16().run(without(model))
    assert reasons(result.program, "LookupsInBf16", did=False) == {"embedding": "the model gives its values"}


def test_fp32_layers_change_nothing() -> None:
    assert not LookupsInBf16().run(without(reads_all(), "fp32")).changed


def test_a_second_run_changes_nothing() -> None:
    assert not LookupsInBf16().run(LookupsInBf16().run(without(reads_all())).program).changed
