"""Child processes that serve on a port of this machine until the test run ends."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def program(name: str) -> str | None:
    """The path of an installed program, from this environment or from PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


class ServerProcess:
    """A server that has been started; ended at the latest when this process ends."""

    def __init__(self, command: Sequence[str], port: int, *, environ: Mapping[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tuspy-server-test-"))
        self.port = port
        self._log = (self.directory / "log").open("wb")
        self._process = subprocess.Popen(
            [part.replace("{directory}", str(self.directory)) for part in command],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environ or {})},
            cwd=self.directory,
            start_new_session=True,
        )
        atexit.register(self.stop)

    def wait_until_accepting(self, timeout: float = 60.0) -> None:
        """Return once the port accepts connections; RuntimeError with the log if it never does."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        said = (self.directory / "log").read_text(errors="replace")[-4000:]
        self.stop()
        raise RuntimeError(said)

    def stop(self) -> None:
        """Kill the process and whatever it started, and remove its files."""
        atexit.unregister(self.stop)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
