"""Artifacts that tests share, exported once a session: compiling one takes seconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Before torch is imported: tests run beside each other and beside servers, on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import constructs
import pytest
import zoo
from coverage_table import pytest_addoption, pytest_configure  # noqa: F401
from same_everywhere import pytest_fixture_setup, pytest_runtest_call  # noqa: F401

from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.compile import Compiled, CompileOptions, compile_model

Export = Callable[..., Compiled]


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """export("tiny_dlrm", tables="int8,user=fp16", dense="bf16") -> Compiled; the same call gives the same artifact."""
    folder = tmp_path_factory.mktemp("artifacts")
    made: dict[tuple[str, str, str], Compiled] = {}

    def get(model: str, tables: str = "fp32", dense: str = "fp32") -> Compiled:
        key = (model, tables, dense)
        if key not in made:
            module, schema = getattr(zoo if hasattr(zoo, model) else constructs, model)()
            options = CompileOptions(model, tables=TablePrecision.parse(tables.split(",")), dense_dtype=dense)
            made[key] = compile_model(module, schema, folder / f"{len(made)}-{model}.pt2", options)
        return made[key]

    return get


@pytest.fixture(scope="session")
def tiny(export: Export) -> Path:
    """The fp32 artifact of zoo.tiny_dlrm."""
    return export("tiny_dlrm").path
