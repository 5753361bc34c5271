"""docs/deploy: what the Dockerfile and the systemd unit run exists, starts, and is found to be healthy or dead."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from recpile.pycompiler.server_process import ServerProcess, server_binary

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
BINARY = "/opt/recpile/bin/recpile-server"
CONFIG = "/etc/recpile/server.yaml"


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions in order, continued lines joined: [("FROM", "debian:bookworm-slim AS build"), ...]."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    return [(keyword, " ".join(rest.split())) for keyword, rest in lines]


def last(keyword: str) -> str:
    return [rest for one, rest in dockerfile() if one == keyword][-1]


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[method-assign,assignment]
    parsed.read(DEPLOY / "recpile-server.service")
    return parsed


def known_flags() -> set[str]:
    shown = subprocess.run([str(server_binary()), "--help"], capture_output=True, text=True, check=True, timeout=60)
    return set(re.findall(r"--[a-z][a-z-]+", shown.stdout))


@pytest.mark.parametrize("command", [json.loads(last("CMD")), shlex.split(unit()["Service"]["ExecStart"])])
def test_what_is_started_is_the_server_with_flags_that_it_has(command):
    program, *arguments = command
    assert (program, arguments[-1]) == (BINARY, CONFIG)
    flags = {one for one in arguments if one.startswith("-")}
    assert flags
    assert flags <= known_flags()


def test_the_image_has_the_configuration_where_the_server_looks_for_it():
    assert ("COPY", f"docs/deploy/server.yaml {CONFIG}") in dockerfile()
    assert last("EXPOSE").split() == ["8000", "8001", "8002"]


def test_the_image_is_built_with_the_packages_that_the_project_pins():
    (install,) = (rest for keyword, rest in dockerfile() if keyword == "RUN" and "pip install torch" in rest)
    pinned = set(re.findall(r"[a-z0-9-]+==[0-9.]+", install))
    wanted = (ROOT / "pyproject.toml").read_text() + (ROOT / "scripts" / "setup_python.sh").read_text()
    assert len(pinned) == 4
    assert pinned <= set(re.findall(r"[a-z0-9-]+==[0-9.]+", wanted))


def test_the_unit_waits_longer_than_the_server_takes_to_stop():
    shown = subprocess.run([str(server_binary()), "--help"], capture_output=True, text=True, check=True, timeout=60)
    grace = re.search(r"--grace-seconds \S+ \[(\d+)\]", shown.stdout)
    assert grace is not None, shown.stdout
    assert int(unit()["Service"]["TimeoutStopSec"]) > int(grace[1])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path):
    text = (DEPLOY / "recpile-server.service").read_text()
    # It asks for the program to be there.
    (tmp_path / "recpile-server.service").write_text(text.replace(BINARY, str(server_binary())))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "recpile-server.service"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, "recpile-server.service" in ran.stderr) == (0, False), ran.stderr


def test_the_server_starts_as_configured_and_the_probe_tells_ready_from_dead(tiny, tmp_path):
    models = tmp_path / "models"
    (models / "ranker").mkdir(parents=True)
    (models / "ranker" / "1.pt2").symlink_to(tiny)
    # The file as it is, but for where models lie.
    (tmp_path / "server.yaml").write_text((DEPLOY / "server.yaml").read_text().replace("/srv/models", str(models)))
    log = tmp_path / "log"
    probe = last("HEALTHCHECK").split(" CMD ")[1]
    assert "127.0.0.1:8000" in probe
    with ServerProcess(None, "--config", str(tmp_path / "server.yaml"), log=log) as server:
        assert server.models == ["ranker:1"]
        port = server.url.rpartition(":")[2]
        assert server.url == f"0.0.0.0:{port}"
        asked = shlex.split(probe.replace(":8000", f":{port}"))
        assert subprocess.run(asked, capture_output=True, timeout=20).returncode == 0
        assert server.stop() == 0
    assert subprocess.run(asked, capture_output=True, timeout=20).returncode != 0
    assert all(json.loads(line)["level"] for line in log.read_text().splitlines())
