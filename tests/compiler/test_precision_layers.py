"""The search over dense layers: those that can bear it get smaller, a planted sensitive one does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from compiler.dense_types import exact_products
from compiler.graphs import Computes, draw, kjt
from torch import nn
from zoo import collection

from recpile.passes.dense_precision import DensePrecision
from recpile.pycompiler.eval_data import EvalData
from recpile.pycompiler.precision.report import manifest_entry, summary
from recpile.pycompiler.precision.search import SearchOptions, search
from recpile.pycompiler.quality import eager
from recpile.pycompiler.schema import Dense, InputSchema

SCHEMA = InputSchema((Dense("x", (64,)), kjt("f0")))
ROWS = 1200


@pytest.fixture(scope="module")
def planted() -> tuple[nn.Module, EvalData]:
    """Two layers of one shape. Of one, the score takes small differences of large outputs; of the other, hardly any."""
    torch.manual_seed(0)
    parts = {
        "tender": nn.Linear(64, 64),
        "tough": nn.Linear(64, 48),
        "bags": collection(("t_f0", 40, 8, ["f0"])),
        "out": nn.Linear(64 + 48 + 8, 1),
    }
    with torch.no_grad():
        parts["tender"].weight.copy_(parts["tender"].weight[:1] + 0.02 * torch.randn(64, 64))
        parts["out"].weight.copy_(torch.cat([torch.tensor([2.0, -2.0] * 32), torch.full((56,), 0.01)])[None])
    model = Computes(
        lambda self, x, sparse: torch.sigmoid(
            self.out(torch.cat([self.tender(x), torch.tanh(self.tough(x)), self.bags(sparse).values()], dim=1))
        ).squeeze(1),
        **parts,
    )
    flat = draw(SCHEMA, ROWS, ids=40, longest=1, seed=1)
    scores = eager(model.eval(), SCHEMA, flat)[0]
    labels = (torch.rand(ROWS, generator=torch.Generator().manual_seed(2)) < scores).float().numpy()
    return model, EvalData("planted", {name: value.numpy() for name, value in flat.items()}, labels)


def options(planted, folder, **changed) -> SearchOptions:
    return replace(SearchOptions(0.002, planted[1], folder / "sensitivities.json"), **changed)


def layer_types(found) -> dict[str, str]:
    return {one.name: one.dtype for one in found.repaired.assignment.values() if one.kind == "layer"}


@exact_products
def test_the_tender_layer_stays_large_and_the_tough_one_is_int8(planted, tmp_path):
    found = search(planted[0], SCHEMA, options(planted, tmp_path))
    types = layer_types(found)
    assert types["tough"] in ("int8", "int8-static")
    assert types["tender"] in ("fp32", "bf16")
    assert "out" not in types  # in front of the output: never smaller
    assert found.repaired.loss <= found.budget
    assert found.dense.of("dense", "tough") == types["tough"]
    entry = manifest_entry(found)
    assert entry["layers"]["tough"]["reason"] == "the smallest type that there is for it"
    assert entry["layers"]["tough"]["bytes"] == 64 * 48
    assert "; layers " in summary(found)


@exact_products
def test_speed_prefers_ranges_over_rows(planted, tmp_path):
    found = search(planted[0], SCHEMA, options(planted, tmp_path, prefer="speed"))
    assert layer_types(found)["tough"] == "int8-static"
    assert "times faster than fp32" in summary(found)
    assert found.repaired.loss <= found.budget


def test_dense_types_that_were_said_are_not_searched(planted, tmp_path):
    found = search(planted[0], SCHEMA, options(planted, tmp_path, dense=DensePrecision("fp32")))
    assert layer_types(found) == {}
    assert found.dense == DensePrecision("fp32")


def test_a_preference_that_there_is_not_is_refused(planted, tmp_path):
    with pytest.raises(ValueError, match="prefer: got 'cost'; use one of size, speed"):
        options(planted, tmp_path, prefer="cost")
