"""A program that ends with an engine in use ends as if it had stopped it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
from recpile.runtime_cpp import Engine
engine = Engine(sys.argv[1], instances=2)
inputs = {
    "dense": np.zeros((64, 4), np.float32),
    "sparse.values": np.zeros(64 * 5, np.int64),
    "sparse.lengths": np.ones((5, 64), np.int64),
}
futures = [engine.submit(inputs) for _ in range(200)]
futures[-1].add_done_callback(lambda one: print("answered", one.result()["score"].shape))
"""


def test_requests_under_way_are_answered_and_nothing_crashes(export):
    path = str(export("tiny_dlrm").path)
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, timeout=120)
        assert (ended.returncode, ended.stdout) == (0, "answered (64,)\n"), ended.stderr
