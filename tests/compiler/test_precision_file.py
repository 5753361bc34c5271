"""Precision files: types of tables by name, glob and size, and of dense stages."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiler.graphs import Computes, captured, kjt
from torch import nn
from zoo import collection

from recpile.passes.base import PassError, run_passes
from recpile.passes.pipeline import passes
from recpile.pycompiler.byte_sizes import parse_bytes
from recpile.pycompiler.precision.file import Precision, read_precision

EVERY_KIND = """
tables:
  item: int4
  "user*": fp16
  context: bf16
sizes:
  - {at_least: 1MB, type: int2}
  - {at_least: 1KB, type: int8}
default: fp32
dense:
  dense: bf16
"""


def read(folder: Path, text: str) -> Precision:
    (folder / "precision.yaml").write_text(text)
    return read_precision(folder / "precision.yaml")


def test_a_name_goes_before_a_size_and_a_size_before_the_default(tmp_path):
    tables = read(tmp_path, EVERY_KIND).tables
    assert tables.of("item", 10**9) == "int4"
    assert tables.of("user_city", 10**9) == "fp16"
    assert tables.of("context", 10**9) == "bf16"
    assert [tables.of("other", size) for size in (10**6, 10**6 - 1, 999)] == ["int2", "int8", "fp32"]


def test_dense_stages_are_named_or_all_of_one_type(tmp_path):
    dense = read(tmp_path, EVERY_KIND).dense
    assert [dense.of("dense"), dense.of("dense_2"), dense.lowest] == ["bf16", "fp32", "bf16"]
    assert read(tmp_path, "dense: bf16").dense.of("anything") == "bf16"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- int8", "got a list; use a mapping with tables, sizes, default, dense"),
        ("table: {item: int8}", "got 'table'; use tables, sizes, default, dense"),
        ("tables: int8", "tables: got 'int8'; use NAME: TYPE"),
        ("tables: {item: int5}", "got 'int5'; use one of fp32, fp16, bf16, int8, int4, int2"),
        ("sizes: [{at_least: 1 fortnight, type: int8}]", "size: got '1 fortnight'; use a number and B, KB"),
        ("sizes: [{over: 1MB, type: int8}]", "sizes: got {'over': '1MB', 'type': 'int8'}; use"),
        ("dense: int4", "dense dtype: got 'int4'; use one of fp32, bf16, fp16, int8"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, text, message):
    with pytest.raises(ValueError) as refused:
        read(tmp_path, text)
    assert "precision.yaml: " in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(("text", "size"), [("1.5MB", 1_500_000), ("2 KiB", 2048), (10, 10)])
def test_sizes_have_units(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables: {itme: int8}", "rule 'itme' matches no table; the tables are item"),
        ("dense: {dens: bf16}", "rule 'dens' matches no stage and no layer; there are dense, out"),
    ],
)
def test_a_name_that_the_model_does_not_have_is_an_error(tmp_path, text, message):
    bags, out = collection(("item", 6, 4, ["f0"])), nn.Linear(4, 1)
    program = captured(
        Computes(lambda self, sparse: self.out(self.bags(sparse).values()), bags=bags, out=out), kjt("f0")
    )
    precision = read(tmp_path, text)
    with pytest.raises(PassError, match=message):
        run_passes(program, passes(precision.tables, precision.dense))
