"""Tables in the mapped artifact or in huge pages: the same answers, and the log says which and why."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import handmade
import numpy as np
import pytest
import torch
from handmade import Rows, keyed, lookup, output

from recpile.pycompiler.server_process import ServerProcess
from recpile.runtime_cpp import Engine

# Their bytes: larger than a huge page, than what is copied at once (32 MiB), and a few.
ROWS = {"small": 7, "large": 600_000, "middle": 40_000}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of 82 MB of tables; row r of table t is 16 times t * 1e6 + r."""
    tables = {
        name: Rows.of((at * 1e6 + torch.arange(rows)).reshape(-1, 1).expand(-1, 32).contiguous())
        for at, (name, rows) in enumerate(ROWS.items())
    }
    features = [(0, at, name) for at, name in enumerate(ROWS)]
    stage = lookup("look", "sum", [{"values": "s.values", "lengths": "s.lengths"}], features)
    outputs = [output("out", "look/out", ["candidate", 96])]
    return handmade.write(
        tmp_path_factory.mktemp("large") / "large.pt2", [keyed("s", list(ROWS))], [stage], outputs, tables
    )


@pytest.mark.parametrize("memory", ["mmap", "hugepages"])
def test_every_row_is_where_it_was(large, memory):
    engine = Engine(large, instances=1, table_memory=memory)
    for where in (0, 0.25, 0.5, 0.999, None):
        ids = [rows - 1 if where is None else int(where * rows) for rows in ROWS.values()]
        flat = {"s.values": np.array(ids), "s.lengths": np.ones((3, 1), np.int64)}
        assert engine.infer(flat)["out"][0, ::32].tolist() == [at * 1e6 + row for at, row in enumerate(ids)]
    engine.stop()


def test_the_engine_says_what_it_chose(large, tiny):
    said = {memory: Engine(large, table_memory=memory).table_memory for memory in ("mmap", "hugepages", "auto")}
    assert said["mmap"] == "mmap: 78.1 MiB of tables, as asked"
    assert re.fullmatch(r"huge pages: 78.1 MiB of tables, \S+ GiB of memory available, as asked", said["hugepages"])
    assert re.match(r"(huge pages|mmap): 78.1 MiB of tables", said["auto"])
    assert Engine(tiny).table_memory == "mmap: 0.0 MiB of tables, too few to gain from huge pages"
    with pytest.raises(ValueError, match="table_memory: got 'swap'; use 'mmap', 'hugepages' or 'auto'"):
        Engine(tiny, table_memory="swap")


def test_the_servers_log_says_it_too(tiny, tmp_path):
    log = tmp_path / "log"
    with ServerProcess(tiny, "--table-memory", "hugepages", log=log) as server:
        assert server.models == ["tiny_dlrm:1"]
    assert "tiny_dlrm version 1: table memory huge pages: 0.0 MiB of tables" in log.read_text()


LOAD = """
import resource, sys
import fbgemm_gpu  # its libraries take room too
from recpile.runtime_cpp import Engine
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[3]),) * 2)
try:
    print(Engine(sys.argv[1], table_memory=sys.argv[2], instances=1).table_memory)
except Exception as error:
    print(error)
"""


def test_where_a_copy_finds_no_memory_auto_does_without(large):
    # Room to map the file, and not for as much again.
    room = str(large.stat().st_size + (60 << 20))
    said = {
        memory: subprocess.run(
            [sys.executable, "-c", LOAD, str(large), memory, room],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # threads would reserve 64 MiB each
        ).stdout
        for memory in ("hugepages", "auto")
    }
    wanted = "cannot copy 78.1 MiB of tables to huge pages: Cannot allocate memory; use table memory mmap"
    assert wanted in said["hugepages"]
    assert said["auto"].startswith(("mmap: " + wanted, "mmap: 78.1 MiB of tables, "))
