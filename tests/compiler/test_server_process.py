"""ServerProcess while the server is not ready yet; what it does once it is, tests/runtime uses throughout."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

import pytest

from recpile.pycompiler import server_process
from recpile.pycompiler.server_process import ServerError, ServerProcess


def server_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    program = folder / "recpile-server"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setattr(server_process, "server_binary", lambda: program)
    return ServerProcess("model.pt2")


def test_one_that_ends_before_it_is_ready_is_an_error_with_what_it_said(tmp_path, monkeypatch):
    server = server_that("echo no such artifact >&2; exit 2", tmp_path, monkeypatch)
    with pytest.raises(ServerError, match="exited with 2 before it was ready\nno such artifact"), server:
        pass


def test_ctrl_c_while_it_loads_leaves_no_process_behind(tmp_path, monkeypatch):
    server = server_that("exec sleep 600", tmp_path, monkeypatch)

    def ctrl_c(signal_number: int, frame: FrameType | None) -> None:
        if hasattr(server, "process"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ctrl_c)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(KeyboardInterrupt), server:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert server.process.poll() is not None
