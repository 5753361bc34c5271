"""Reads YAML as plain data, and refuses what a reader would not see: a key given twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: str | Path) -> Any:
    """The file's one document. ValueError with the line if it is not YAML; OSError if it cannot be opened."""
    return parse_yaml(Path(path).read_text(encoding="utf-8"), str(path))


def parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{source}, line {line}: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {error}") from error


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
