"""recpile-server as a child process, for demos, tests and benchmarks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

_READY = re.compile(r"recpile-server ready:(?P<pairs>(?: \w+=\S*)+)$")


class ServerError(RuntimeError):
    """The server could not start."""


def server_binary() -> Path:
    """Beside this Python, where the wheel puts it; else on the PATH."""
    beside = Path(sys.executable).parent / "recpile-server"
    found = beside if beside.is_file() else shutil.which("recpile-server")
    if found is None:
        raise FileNotFoundError("recpile-server is not installed; build recpile with CMake option RECPILE_HTTP=ON")
    return Path(found)


class ServerProcess:
    """Serves an artifact on free loopback ports while the `with` block runs.

    `artifact` may be None where `options` name a model repository or a configuration file. The addresses are
    "host:port", as tritonclient takes them, and empty where a port is off: `url` (HTTP), `grpc_url`, `metrics_url`. The
    process never outlives this one: it is stopped at the end of the block, and the kernel stops it if this process dies
    first. `log`, if given, receives what it logs.
    """

    def __init__(self, artifact: str | Path | None, *options: str, log: Path | None = None) -> None:
        self._command = [str(server_binary()), "--exit-with-parent"]
        for port in ("--http-port", "--grpc-port", "--metrics-port"):
            if port not in options:
                self._command += [port, "0"]
        self._command += options
        if artifact is not None:
            self._command.append(str(artifact))
        self._log = log
        self.url = ""
        self.grpc_url = ""
        self.metrics_url = ""
        self.models: list[str] = []

    def __enter__(self) -> ServerProcess:
        with open(self._log, "w+") if self._log else tempfile.TemporaryFile("w+") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                assert self.process.stdout is not None
                ready = _READY.match(self.process.stdout.readline().rstrip("\n"))
            except BaseException:  # Ctrl-C while it loads: there is no `with` block yet whose end would stop it
                self.stop()
                raise
            if ready is None:
                code = self.process.wait()
                log.seek(0)
                raise ServerError(f"recpile-server exited with {code} before it was ready\n{log.read()}".rstrip())
        said = dict(pair.split("=", 1) for pair in ready["pairs"].split())
        self.url = said.get("http", "").split("://")[-1]
        self.grpc_url = said.get("grpc", "")
        self.metrics_url = said.get("metrics", "")
        self.models = [one for one in said["models"].split(",") if one]
        return self

    @property
    def model(self) -> str:
        """The name of the one model that is served."""
        (only,) = self.models
        return only.rpartition(":")[0]

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self, seconds: float = 40) -> int:
        """SIGTERM, and its exit code; SIGKILL if it has not stopped in time."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
