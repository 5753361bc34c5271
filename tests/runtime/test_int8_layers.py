"""Layers in int8: the same answers in both runtimes, alone and coalesced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiler.graphs import draw
from compiler.stages import mlp
from engines import together
from torch import nn
from zoo import collection

from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.quality import eager
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged
from recpile.runtime_cpp import Engine

SCHEMA = InputSchema((Dense("dense", (32,)), KeyedJagged("sparse", ("user", "item"))), ("score",))


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = collection(("user", 100, 32, ["user"]), ("item", 200, 32, ["item"]))
        self.bottom, self.over = mlp(32, 64, 32), nn.Sequential(mlp(96, 128, 64), nn.Linear(64, 1))

    def forward(self, dense, sparse):
        joined = torch.cat([self.bottom(dense), self.bags(sparse).values()], dim=1)
        return torch.sigmoid(self.over(joined)).squeeze(1)


@pytest.mark.proves("The passes", "dense precision", "numerics in both runtimes")
@pytest.mark.parametrize("dtype", ["int8", "int8-static"])
def test_int8_layers_answer_alike_in_both_runtimes_and_in_company(tmp_path, dtype):
    torch.manual_seed(0)
    model = Wide().eval()
    rows = draw(SCHEMA, 500, ids=100, seed=3)
    calibration = EvalData("rows", {name: value.numpy() for name, value in rows.items()}, np.arange(500) % 2)
    options = CompileOptions("wide", tables=TablePrecision("int8"), dense_dtype=dtype, calibration=calibration)
    path = compile_model(model, SCHEMA, tmp_path / "wide.pt2", options).path
    runtime, engine = DebugRuntime(path), Engine(str(path), instances=1)
    layers = {layer["name"]: layer["dtype"] for layer in runtime.manifest["stages"][-1]["layers"]}
    assert layers == dict.fromkeys(["bottom.0", "bottom.2", "over.0.0", "over.0.2"], dtype) | {"over.1": "fp32"}

    requests = [draw(SCHEMA, 1 + seed % 7, ids=100, seed=seed) for seed in range(50)]
    ran = together(engine, [{name: value.numpy() for name, value in flat.items()} for flat in requests])
    for flat, answer in zip(requests, ran.answers, strict=True):
        wanted = runtime.run(flat)["score"].numpy()
        np.testing.assert_allclose(answer["score"], wanted, atol=2e-6, rtol=0)
        assert np.abs(wanted - eager(model, SCHEMA, flat)[0].numpy()).max() < 0.1
    assert ran.batches == 1
    engine.stop()
