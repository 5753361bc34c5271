"""DensePrecision: a type for each layer, by rules."""

from __future__ import annotations

import pytest
import torch
from compiler.dense_types import cast, layers
from compiler.graphs import Computes, farthest
from torch import nn

from recpile.passes.base import PassError
from recpile.passes.dense_precision import DensePrecision
from recpile.pycompiler.schema import Dense


@pytest.mark.proves("The passes", "dense precision", "graph")
def test_layers_may_have_types_of_their_own() -> None:
    model = Computes(
        lambda self, x: self.out(self.third(torch.relu(self.second(torch.relu(self.first(x)))))).squeeze(1),
        first=nn.Linear(8, 8), second=nn.Linear(8, 8), third=nn.Linear(8, 8), out=nn.Linear(8, 1),
    )  # fmt: skip
    precision = DensePrecision("fp32", (("sec*", "bf16"), ("third", "fp16")))
    program = cast(model, Dense("x", (8,)), dtype=precision)
    (stage,) = program.stages
    assert layers(stage) == [torch.float32, torch.bfloat16, torch.float16, torch.float32]
    assert stage.precision == "mixed"
    assert [(one.name, one.dtype, one.bytes) for one in stage.layers] == [
        ("first", "fp32", 256), ("second", "bf16", 128), ("third", "fp16", 128), ("out", "fp32", 32),
    ]  # fmt: skip
    bf16, fp16 = (one.error.max for one in stage.layers[1:3])
    assert 0 < fp16 < bf16 < 2e-3
    assert farthest(model, program) < 0.01


def test_a_rule_that_names_nothing_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(PassError, match="rule 'thrid' matches no stage and no layer; there are dense, out"):
        cast(
            Computes(lambda self, x: self.out(x).squeeze(1), out=nn.Linear(8, 1)),
            Dense("x", (8,)),
            dtype=DensePrecision("fp32", (("thrid", "bf16"),)),
        )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["bf16", "fp16"], "got both 'bf16' and 'fp16' for all layers"),
        (["int4"], "got 'int4'; use one of fp32, bf16, fp16, int8, int8-static"),
        (["over=int4"], "got 'int4'; use one of"),
    ],
)
def test_types_that_make_no_sense_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DensePrecision.parse(texts)
