"""The search on a model with planted sensitive tables: it keeps those, and only those, at high precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from compiler.graphs import Computes, draw, kjt
from torch import nn
from zoo import collection

from recpile.passes.base import run_passes
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import capture
from recpile.pycompiler.packing import pack
from recpile.pycompiler.precision import sensitivity
from recpile.pycompiler.precision.cache import Cache
from recpile.pycompiler.precision.front import draw_front, front_svg
from recpile.pycompiler.precision.report import manifest_entry, summary
from recpile.pycompiler.precision.search import Found, SearchOptions, search, split
from recpile.pycompiler.precision.stages import Rows, StagesOnRows
from recpile.pycompiler.quality import EvalData, eager, run_stages
from recpile.pycompiler.schema import InputSchema

SENSITIVE, DULL = ("f1", "f4"), ("f0", "f2", "f3", "f5")
ROWS = 1200


@pytest.fixture(scope="module")
def planted() -> tuple[nn.Module, InputSchema, EvalData]:
    """Six tables; of two the score takes the difference of nearly equal columns, a hundredfold."""
    torch.manual_seed(0)
    bags = collection(*((f"t_{f}", 40, 8, [f]) for f in sorted(SENSITIVE + DULL)))
    out = nn.Linear(48, 1)
    with torch.no_grad():
        for name, feature in (("weight", f) for f in SENSITIVE + DULL):
            at = 8 * int(feature[1])
            part = getattr(out, name)[:, at : at + 8]
            part.copy_(torch.tensor([6.0, -6.0] * 4 if feature in SENSITIVE else [0.02] * 8))
        for feature in SENSITIVE:
            table = bags.get_parameter(f"embedding_bags.t_{feature}.weight")
            table.copy_(table[:, :1] + 0.03 * torch.randn_like(table))
            table[:, 0] += 3
            table[:, 1] += 3
    model = Computes(
        lambda self, sparse: torch.sigmoid(self.out(self.bags(sparse).values())).squeeze(1), bags=bags, out=out
    )
    schema = InputSchema([kjt(*sorted(SENSITIVE + DULL))])
    flat = draw(schema, ROWS, ids=40, longest=1, seed=1)
    scores = eager(model.eval(), schema, flat)[0]
    labels = (torch.rand(ROWS, generator=torch.Generator().manual_seed(2)) < scores).float().numpy()
    return model, schema, EvalData("planted", {name: value.numpy() for name, value in flat.items()}, labels)


def options(planted, folder: Path, **changed) -> SearchOptions:
    return replace(SearchOptions(0.002, planted[2], folder / "sensitivities.json"), **changed)


@pytest.fixture(scope="module")
def found(planted, tmp_path_factory) -> Found:
    """A search that was stopped after four measurements, and started again."""
    folder, measured, real = tmp_path_factory.mktemp("search"), [], sensitivity._measure

    def stops(*arguments):
        measured.append(arguments)
        if len(measured) == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "_measure", stops)
        with pytest.raises(KeyboardInterrupt):
            search(planted[0], planted[1], options(planted, folder))
        return search(planted[0], planted[1], options(planted, folder))


def test_exactly_the_planted_tables_keep_a_high_precision(found):
    types = {name: one.dtype for name, one in found.repaired.assignment.items()}
    assert {name for name, dtype in types.items() if dtype in ("fp32", "fp16", "int8")} == {"t_f1", "t_f4"}
    assert {types[f"t_{feature}"] for feature in DULL} == {"int2"}
    assert found.repaired.loss <= found.budget


def test_the_whole_is_verified_on_rows_that_the_search_did_not_see(planted, found):
    assert (len(found.calibration.labels), len(found.held_out.labels)) == (800, 400)
    assert np.array_equal(np.concatenate([found.calibration.labels, found.held_out.labels]), planted[2].labels)


def test_only_what_a_table_reaches_runs_again_and_says_what_the_program_would(planted):
    model, schema, data = planted
    made = capture(model, schema, "m")
    plain = run_passes(made, passes(TablePrecision(), "fp32"))
    small = run_passes(made, passes(TablePrecision("fp32", (("t_f2", "int2"),)), "fp32"))
    stages = StagesOnRows(plain, data)
    packed = pack(model.get_parameter("bags.embedding_bags.t_f2.weight"), "int2")
    (flat,) = split(data, schema)[0].batches(schema, rows=ROWS)
    wanted = run_stages(small, flat)[0].numpy()
    np.testing.assert_allclose(stages.scores({"t_f2": Rows(packed, "int2")})[: len(wanted)], wanted, atol=1e-6)
    np.testing.assert_allclose(stages.scores()[: len(wanted)], run_stages(plain, flat)[0].numpy(), atol=1e-6)
    assert int(stages.hits()["t_f2"].sum()) == int(data.inputs["sparse.lengths"][2].sum())


def test_a_search_that_was_stopped_goes_on_where_it_was(found):
    assert found.resumed == 4
    assert {name: len(options) for name, options in found.options.items()} == dict.fromkeys(found.options, 5)


def test_sensitivities_are_kept_for_one_checkpoint_and_one_set_of_rows(tmp_path):
    path, weights, rows = tmp_path / "kept.json", {"w": torch.ones(2)}, {"x": np.zeros(3)}
    Cache(path, weights, rows).put("t", "int8", {"loss": 0.5})
    again = Cache(path, weights, rows)
    assert (again.resumed, again.get("t", "int8"), again.get("t", "int4")) == (1, {"loss": 0.5}, None)
    assert Cache(path, {"w": torch.zeros(2)}, rows).resumed == 0
    assert Cache(path, weights, {"x": np.ones(3)}).resumed == 0
    path.write_text(path.read_text()[:-5])
    assert Cache(path, weights, rows).resumed == 0


def test_of_fp16_and_bf16_the_nearer_one_is_tried():
    row = torch.tensor([[1.0, -0.3, 0.01, 7.0]])
    assert sensitivity.types_of(row) == ["fp32", "fp16", "int8", "int4", "int2"]
    assert sensitivity.types_of(row * 1e5)[:2] == ["fp32", "bf16"]
    assert sensitivity.types_of(row * 1e-8)[:2] == ["fp32", "bf16"]
    assert sensitivity.types_of(row[:, :3]) == ["fp32", "fp16", "int8"]


def test_too_few_rows_and_missing_columns_are_refused(planted, tmp_path):
    model, schema, data = planted
    _, last = split(split(data, schema)[1], schema)
    with pytest.raises(ValueError, match=r"has \d+ rows; give at least 900"):
        search(model, schema, replace(options(planted, tmp_path), calibration=last))
    part = EvalData("part", {"sparse.values": data.inputs["sparse.values"]}, data.labels)
    with pytest.raises(ValueError, match=r"lacks sparse\.lengths"):
        search(model, schema, replace(options(planted, tmp_path), calibration=part))
    assert not list(tmp_path.iterdir())


def test_what_was_found_is_told_for_the_manifest_and_drawn(found):
    entry = manifest_entry(found)
    assert entry["held_out"]["samples"] == 400
    assert entry["tables"]["t_f0"]["reason"] == "the smallest type that there is for it"
    assert entry["bytes_fp32"] == 6 * 40 * 32
    assert f"tables {entry['bytes']:,} bytes" in summary(found)
    drawn = "".join(ElementTree.fromstring(front_svg(found)).itertext())
    assert all(text in drawn for text in ("budget 0.2 %", "all int8", f"chosen: {entry['bytes']:,} bytes"))


def test_a_page_shows_the_picture_and_what_each_table_got_and_why(found, tmp_path):
    draw_front(found, tmp_path / "made" / "front.html")
    page = (tmp_path / "made" / "front.html").read_text()
    assert "chosen: " in page
    assert "<title>t_f0 to " in page
    assert summary(found) in page
    for name, why in found.reasons.items():
        assert f"<td>{name}</td>" in page
        assert f"<td>{why}</td>" in page
    draw_front(found, tmp_path / "front.svg")
    assert (tmp_path / "front.svg").read_text() == front_svg(found)


def test_a_budget_that_cannot_be_met_says_so_with_the_best(found):
    missed = replace(found, repaired=replace(found.repaired, met=False))
    assert summary(missed).startswith("no assignment within 0.2 %; the best found: tables ")
