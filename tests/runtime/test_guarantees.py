"""docs/guarantees.md names tests that exist, and leaves out no file of tests of the server."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text()


def test_every_test_that_is_named_exists():
    python = re.findall(r"`(\w+\.py)::(test_\w+)`", PAGE)
    cpp = re.findall(r"`([A-Z]\w+)\.([A-Z]\w+)`", PAGE)
    assert len(python) > 50
    assert len(cpp) > 8
    for file, name in python:
        assert re.search(rf"^def {name}\(", (TESTS / "runtime" / file).read_text(), re.M), (file, name)
    sources = "".join(path.read_text() for path in (TESTS / "cpp").rglob("*_test.cc"))
    for suite, name in cpp:
        assert re.search(rf"TEST(_[FP])?\({suite}, {name}\)", sources), (suite, name)


def test_every_line_names_a_test():
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| what", "|---"))]
    assert len(lines) > 40
    assert [line for line in lines if "`" not in line.split("|")[-2]] == []


def test_no_file_of_tests_of_the_server_is_left_out():
    files = {path.name for path in (TESTS / "runtime").glob("test_server*.py")}
    assert files <= set(re.findall(r"`(\w+\.py)::", PAGE))
