"""What a test finds hangs neither on the machine, nor on who runs it, nor on the tests before it (for conftest.py)."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

# What is printed is as wide as this, and without colours, on whatever terminal.
_TERMINAL = ("LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHON_COLORS")
for _name in _TERMINAL:
    os.environ.pop(_name, None)
os.environ["COLUMNS"] = "160"

# Servers of tests are on this machine: a proxy is not asked for them.
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))
# Nor is the machine's name looked up, where two processes train.
os.environ["GLOO_SOCKET_IFNAME"] = "lo"


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """Each fixture draws the same numbers, whichever test is the first to want it."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """And each test, whatever ran before it."""
    _seed()


def _seed() -> None:
    import torch  # late: conftest.py sets the environment before torch is imported

    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
