"""The mapping and the schema that the documentation shows are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from recpile.pycompiler.checkpoints.mapping import CheckpointMapping
from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged
from recpile.pycompiler.schema_file import parse_schema

DOCS = Path(__file__).parents[2] / "docs"


def shown(page: str) -> str:
    """The first YAML block of a page."""
    found = re.search(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found.group(1)


def test_the_documented_mapping_renames_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(shown("checkpoints.md"))
    names = ["net.head.bias", "net.tower_user.0.weight", "net.aux_click.mlp.0.bias", "net.norm.weight", "bias"]
    renamed = CheckpointMapping.load(tmp_path / "rules.yaml").apply(names)
    assert [one.to for one in renamed] == ["out.bias", "towers.user.layers.0.weight", None, "norm.weight", "bias"]


def test_the_documented_schema_is_the_one_in_python() -> None:
    inputs = [
        Dense("price"),
        Dense("image", (3, 8), torch.uint8),
        Jagged("clicked", torch.int32, axis="request"),
        KeyedJagged("sparse", ["user", "item"], weighted=True),
    ]
    assert parse_schema(shown("input_schema.md")) == InputSchema(inputs, ["score"], ["loss", "score"], candidates=50)
