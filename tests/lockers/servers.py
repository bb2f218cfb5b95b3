"""Real servers on free ports, which tests may stop, pause and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

# An overloaded machine takes its time over the imports of a simulator.
_START_TIMEOUT = 120.0


def binary(name: str, *places: str) -> str:
    """Where the program is, or skip the test."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *places])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def answers(url: str, status: int = 200) -> bool:
    """Whether a GET of the URL is answered with this status."""
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == status)
    except HTTPError as exc:
        exc.close()
        return exc.code == status
    except OSError:
        return False


class Server:
    """A program that listens on `port`, and works once `ready` says so."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.port = port
        self._command = command
        self._log = log
        self._user = user
        self._environment = {**os.environ, **(environment or {})}
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, user=self._user, env=self._environment
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0 and self._ready():
                    return
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """Make it accept connections and never answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To the program and what it started: each client of PostgreSQL has a process."""
        assert self._process is not None
        started = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._process.send_signal(number)
        for pid in started:
            with suppress(ProcessLookupError):
                os.kill(int(pid), number)
