"""The `recpile` command as a user types it: a real process in a folder of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnxruntime
import pytest
import torch

from recpile.pycompiler.artifact.reader import Artifact

USER_MODEL = """
import torch
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = EmbeddingBagCollection(tables=[
            EmbeddingBagConfig(name="user", num_embeddings=20, embedding_dim=8, feature_names=["user"]),
            EmbeddingBagConfig(name="item", num_embeddings=30, embedding_dim=8, feature_names=["item"])])
        self.hidden = nn.Linear(19, 8)
        self.out = nn.Linear(8, 1)

    def forward(self, dense, sparse):
        pooled = self.tables(sparse).values()
        return torch.sigmoid(self.out(torch.relu(self.hidden(torch.cat([dense, pooled], 1))))).squeeze(1)

def build():
    return Model(), InputSchema([Dense("dense", (3,)), KeyedJagged("sparse", ["user", "item"])])

def broken():
    return Model()

class Branching(Model):
    def forward(self, dense, sparse):
        if sparse.values().numel() > 0:
            return super().forward(dense, sparse)
        return dense.sum(1)

def branching():
    return Branching(), build()[1]
"""


def recpile(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "recpile.pycompiler.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's model, its checkpoint and labelled rows."""
    made = tmp_path_factory.mktemp("user")
    (made / "my_model.py").write_text(USER_MODEL)
    script = "import torch, my_model; torch.manual_seed(0); torch.save(my_model.build()[0].state_dict(), 'trained.pt')"
    subprocess.run([sys.executable, "-c", script], cwd=made, check=True)
    rows = {
        "dense": np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3),
        "sparse.values": np.arange(40) % 20,
        "sparse.lengths": np.ones((2, 20), np.int64),
        "labels": np.arange(20) % 2,
    }
    np.savez(made / "rows.npz", **rows)
    return made


@pytest.fixture(scope="module")
def exported(folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = [
        "--checkpoint",
        "trained.pt",
        "--output",
        "model.pt2",
        "--embedding-dtype",
        "int8",
        "--embedding-dtype",
        "user=fp32",
    ]
    return recpile(
        folder,
        "export",
        "my_model",
        *arguments,
        "--eval-data",
        "rows.npz",
        "--explain",
        "--doctor",
        "--onnx",
        "model.onnx",
    )


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


def test_the_doctor_exits_1_names_the_line_and_nothing_is_written(folder):
    checked = recpile(folder, "doctor", "my_model:branching", "--max-batch", "4")
    assert checked.returncode == 1, checked.stderr
    assert "│ no ids, batch 1" in checked.stdout
    assert "DIFFERS" in checked.stdout
    assert "WRONG: the model branches on a size" in checked.stdout
    line = 1 + USER_MODEL.splitlines().index("        if sparse.values().numel() > 0:")
    assert f"my_model.py:{line}: if sparse.values().numel() > 0:" in checked.stdout

    arguments = ["--checkpoint", "trained.pt", "--output", "never.pt2", "--doctor"]
    refused = recpile(folder, "export", "my_model:branching", *arguments)
    assert (refused.returncode, (folder / "never.pt2").exists()) == (1, False)
    assert "never.pt2 was not written" in refused.stdout


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
def test_verify_compares_eager_debug_runtime_and_engine(folder, exported):
    ran = recpile(
        folder, "verify", "model.pt2", "--model", "my_model:build", "--checkpoint", "trained.pt", "--inputs", "rows.npz"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for what in ("captured graph", "pass QuantizeTables", "exported stages", "debug runtime", "C++ engine", "batch"):
        assert what in ran.stdout


def test_verify_exits_1_and_names_the_weight_when_the_checkpoint_is_another(folder, exported):
    state = torch.load(folder / "trained.pt")
    state["out.bias"] += 0.5
    torch.save(state, folder / "other.pt")
    ran = recpile(folder, "verify", "model.pt2", "--model", "my_model", "--checkpoint", "other.pt")
    assert ran.returncode == 1, ran.stderr
    assert "DIFFERS" in ran.stdout
    assert "first fault: weights" in ran.stdout
    line = 1 + next(i for i, text in enumerate(USER_MODEL.splitlines()) if "return torch.sigmoid" in text)
    assert "weight 'out.bias' differs by up to 0.5" in ran.stdout
    assert f"my_model.py:{line}: return torch.sigmoid" in ran.stdout


def test_a_checkpoint_with_a_misnamed_weight_is_refused_and_nothing_is_written(folder):
    state = torch.load(folder / "trained.pt")
    state["hiden.weight"] = state.pop("hidden.weight")
    torch.save(state, folder / "misnamed.pt")
    ran = recpile(folder, "export", "my_model", "--checkpoint", "misnamed.pt", "--output", "never.pt2")
    assert ran.returncode == 2
    assert "1 missing: 'hidden.weight' (did you mean the checkpoint's 'hiden.weight'?)" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (folder / "never.pt2").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_model"], "no module 'no_such_model'"),
        (["my_model:nothing"], "has no function 'nothing'"),
        (["my_model:broken"], "returned Model; return (nn.Module, recpile InputSchema)"),
        (["my_model", "--embedding-dtype", "int3"], "got 'int3'; use one of fp32, fp16, bf16, int8, int4, int2"),
        (["my_model", "--embedding-dtype", "usr=int8"], "rule 'usr' matches no table; the tables are user, item"),
        (["my_model", "--precision", "auto"], "--precision auto needs --calibration FILE"),
        (["my_model", "--precision", "auto", "--calibration", "rows.npz"], "has 20 rows; give at least 900"),
        (["my_model", "--name", "two words"], "got 'two words'; use one word"),
        (["my_model", "--pass", "my_model:Pas"], "module 'my_model' has no 'Pas'; it has no Pass class"),
    ],
)
def test_what_the_user_can_mend_is_one_clear_line(folder, arguments, message):
    ran = recpile(folder, "export", *arguments, "--checkpoint", "trained.pt", "--output", "never.pt2")
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_serve_runs_the_binary(folder):
    assert "recpile-server" in recpile(folder, "serve", "--help").stdout
