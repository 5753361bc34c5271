"""The `recpile` command as a user types it: a real process in a folder of the user's own."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import onnxruntime
import pytest
import torch
from cli.user_folder import USER_MODEL, recpile

from recpile.pycompiler.artifact.reader import Artifact


def test_export_shows_its_steps_and_sums_up(exported):
    assert exported.returncode == 0, exported.stderr
    for step in (
        "load the model",
        "capture",
        "pass QuantizeTables",
        "lower stage dense",
        "write and check the artifact",
    ):
        assert step in exported.stdout
    explained = [line.split() for line in exported.stdout.splitlines()]
    assert ["QuantizeTables"] in explained
    assert any(words[:7] == ["did", "item", "int8:", "360", "bytes", "of", "960,"] for words in explained)
    assert ["BatchTables"] in explained
    assert "largest difference from eager" in exported.stdout
    assert "eager: AUC" in exported.stdout
    assert "model.pt2:" in exported.stdout


def test_export_with_the_doctor_proves_the_graph_and_then_the_artifact(exported):
    header = next(line for line in exported.stdout.splitlines() if "┃ captured graph" in line)
    assert "artifact" in header
    for case in ("batch 1 ", "batch 512", "no ids, batch 1", "sparse[user] empty", "long bags, batch 3"):
        assert f"│ {case}" in exported.stdout
    assert "24 cases, 0 wrong: healthy" in exported.stdout


def test_export_writes_onnx_and_says_how_far_it_is_from_eager(folder, exported):
    assert "model.onnx: the whole model, fp32, ONNX opset 18" in exported.stdout
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert [(one.name, one.shape) for one in session.get_inputs()] == [
        ("dense", ["candidate", 3]),
        ("sparse.values", ["sparse.nnz"]),
        ("sparse.lengths", [2, "candidate"]),
    ]


def test_inspect_prints_the_manifest(folder, exported):
    manifest = json.loads(recpile(folder, "inspect", "model.pt2", "--json").stdout)
    assert {table["name"]: table["dtype"] for table in manifest["tables"]} == {"user": "fp32", "item": "int8"}
    assert manifest["quality"]["samples"] == 20
    assert "FLOPs" in recpile(folder, "inspect", "model.pt2").stdout


@pytest.mark.proves("What the user sees", "inspect --svg and --html", "graph")
def test_inspect_draws_the_stages_and_writes_a_page_to_click_through(folder, exported):
    ran = recpile(folder, "inspect", "model.pt2", "--svg", "dag.svg", "--html", "dag.html")
    assert ran.returncode == 0, ran.stderr
    drawn = "".join(ElementTree.parse(folder / "dag.svg").getroot().itertext())
    assert all(name in drawn for name in ("sparse", "embedding", "dense", "score"))
    assert "my_model.py" in (folder / "dag.html").read_text()


def test_inspect_does_not_read_tables_unless_it_is_to_verify_them(folder, exported):
    damaged = bytearray((folder / "model.pt2").read_bytes())
    offset, _ = Artifact(folder / "model.pt2")._entries["data/recpile/tables/0"]
    damaged[offset] ^= 1
    (folder / "damaged.pt2").write_bytes(damaged)
    assert recpile(folder, "inspect", "damaged.pt2", "--json").returncode == 0
    refused = recpile(folder, "inspect", "damaged.pt2", "--json", "--verify")
    assert refused.returncode == 2
    assert "does not match its checksum" in refused.stderr


def test_eval_measures_quality_with_intervals(folder, exported):
    ran = recpile(folder, "eval", "model.pt2", "--data", "rows.npz", "--json")
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(ran.stdout)
    manifest = json.loads(recpile(folder, "inspect", "model.pt2", "--json").stdout)
    assert measured["auc"] == pytest.approx(manifest["quality"]["artifact"]["auc"])
    assert measured["intervals"]["auc"][0] <= measured["auc"] <= measured["intervals"]["auc"][1]


def test_run_writes_outputs_and_what_flows_between_stages(folder, exported):
    ran = recpile(folder, "run", "model.pt2", "--inputs", "rows.npz", "--output", "out.npz", "--dump", "between.npz")
    assert ran.returncode == 0, ran.stderr
    assert np.load(folder / "out.npz")["score"].shape == (20,)
    assert np.load(folder / "between.npz")["embedding/pooled"].shape == (20, 16)


@pytest.mark.proves("Checkpoints", "state_dict .pt", "numerics in both runtimes")
@pytest.mark.proves("Input schema", "Python", "numerics in both runtimes")
@pytest.mark.proves("What the user sees", "export --doctor", "numerics in both runtimes")
@pytest.mark.proves("What the user sees", "a custom pass", "numerics in both runtimes")
def test_verify_compares_eager_debug_runtime_and_engine(folder, exported):
    ran = recpile(
        folder,
        "verify",
        "model.pt2",
        "--model",
        "my_model:build",
        "--checkpoint",
        "trained.pt",
        "--inputs",
        "rows.npz",
        "--pass",
        "my_passes:ReluAsClamp",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = ("captured graph", "pass ReluAsClamp", "pass QuantizeTables", "exported stages")
    for what in (*passed, "debug runtime", "C++ engine", "batch"):
        assert what in ran.stdout


def test_verify_exits_1_and_names_the_weight_when_the_checkpoint_is_another(folder, exported):
    state = torch.load(folder / "trained.pt")
    state["out.bias"] += 0.5
    torch.save(state, folder / "other.pt")
    own = ("--pass", "my_passes:ReluAsClamp")
    ran = recpile(folder, "verify", "model.pt2", "--model", "my_model", "--checkpoint", "other.pt", *own)
    assert ran.returncode == 1, ran.stderr
    assert "DIFFERS" in ran.stdout
    assert "first fault: weights" in ran.stdout
    line = 1 + next(i for i, text in enumerate(USER_MODEL.splitlines()) if "return torch.sigmoid" in text)
    assert "weight 'out.bias' differs by up to 0.5" in ran.stdout
    assert f"my_model.py:{line}: return torch.sigmoid" in ran.stdout


def test_serve_runs_the_binary(folder):
    assert "recpile-server" in recpile(folder, "serve", "--help").stdout
