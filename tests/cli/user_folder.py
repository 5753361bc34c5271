"""A user's folder, and the `recpile` command typed in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


USER_PASSES = """
import torch
from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured

class ReluAsClamp(Pass):
    def run(self, program):
        module = editable(program.graph)
        found = [node for node in module.graph.nodes if node.target is torch.ops.aten.relu.default]
        for node in found:
            node.target, node.args = torch.ops.aten.clamp_min.default, (*node.args, 0)
        notes = [self.did(node.name, "is a clamp") for node in found]
        return PassResult(recaptured(program, module).with_notes(*notes), changed=bool(found))
"""


def recpile(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "recpile.pycompiler.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's model, a pass of theirs, the model's checkpoint and labelled rows."""
    made = tmp_path_factory.mktemp("user")
    (made / "my_model.py").write_text(USER_MODEL)
    (made / "my_passes.py").write_text(USER_PASSES)
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


@pytest.fixture(scope="session")
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
        "--pass",
        "my_passes:ReluAsClamp",
    )
