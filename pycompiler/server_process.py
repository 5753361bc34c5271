"""recpile-server as a child process, for demos, tests and benchmarks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

_READY = re.compile(r"recpile-server ready: http://(\S+) model=(\S+) version=(\S+)")


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
    """Serves an artifact on a free loopback port while the `with` block runs.

    `url` is "host:port", as tritonclient takes it. The process never outlives this one: it is stopped at the end of the
    block, and the kernel stops it if this process dies first. `log`, if given, receives what it logs.
    """

    def __init__(self, artifact: str | Path, *options: str, log: Path | None = None) -> None:
        self._command = [str(server_binary()), str(artifact), "--http-port", "0", "--exit-with-parent", *options]
        self._log = log
        self.url = ""
        self.model = ""

    def __enter__(self) -> ServerProcess:
        with open(self._log, "w+") if self._log else tempfile.TemporaryFile("w+") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
            assert self.process.stdout is not None
            ready = _READY.match(self.process.stdout.readline())
            if ready is None:
                code = self.process.wait()
                log.seek(0)
                raise ServerError(f"recpile-server exited with {code} before it was ready\n{log.read()}".rstrip())
        self.url, self.model = ready[1], ready[2]
        return self

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
