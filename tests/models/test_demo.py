"""`make demo`, on synthetic data: the whole way in one command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_COMMAND = [sys.executable, "-m", "recpile.models.demo", "--data", "synthetic"]


def servers_of(folder: Path) -> list[str]:
    """Processes that serve an artifact of this folder."""
    found = []
    for commandline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = commandline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if "recpile-server" in text and str(folder) in text:
            found.append(text)
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "COLUMNS": "120"}
    command = [*_COMMAND, "--out", str(folder)]
    return folder, subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_it_passes_and_prints_one_table_of_everyone_who_answers(demo):
    _, ran = demo
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    rows = {}
    for who in ("eager PyTorch fp32", "debug runtime fp32", "C++ server fp32", "C++ server int8-bf16"):
        (line,) = [line for line in ran.stdout.splitlines() if who in line]
        numbers = re.findall(r"[-\d.,]+(?:e[-+]\d+)?", line.split(who)[1])
        rows[who] = [float(number.replace(",", "")) for number in numbers]
    eager_auc = rows["eager PyTorch fp32"][0]
    assert 0.6 < eager_auc < 0.95
    for who, (auc, _, difference, *_) in rows.items():
        assert abs(auc - eager_auc) < 0.005, who
        assert difference <= (0.1 if "int8" in who else 1e-5), who
    assert "demo passed" in ran.stdout


def test_it_leaves_no_process_behind(demo):
    assert servers_of(demo[0]) == []


def test_training_cannot_be_skipped_before_it_was_done(tmp_path):
    command = [*_COMMAND, "--out", str(tmp_path), "--skip-training"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "which is not there; run once without it" in ran.stderr


def _heeds_ctrl_c() -> None:
    """A shell that runs the tests in the background has them, and what they start, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_while_it_serves_leaves_no_process_behind(demo):
    folder, _ = demo
    command = [*_COMMAND, "--out", str(folder), "--skip-training"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_heeds_ctrl_c,
    )
    deadline = time.monotonic() + 120
    serving: list[str] = []
    while not serving and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        serving = servers_of(folder)
    assert serving
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the whole group
    assert running.wait(120) == 130
    # The kernel ends a server that was just being started when the demo ended.
    deadline = time.monotonic() + 60
    while servers_of(folder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert servers_of(folder) == []
