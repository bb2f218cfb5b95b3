"""Real servers as processes: started on a free port, stopped by pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.apps import SETTINGS
from tests.servers.ports import free_port
from tests.servers.wire import WireClient

ROOT = Path(__file__).parents[2]


def _command(server: str, port: int) -> list[str]:
    python, address = sys.executable, f"127.0.0.1:{port}"
    uvicorn = [python, "-m", "uvicorn", "--factory", "tests.servers.apps:asgi", "--port", str(port)]
    uvicorn += ["--log-level", "warning"]
    gunicorn = [python, "-m", "gunicorn", "--bind", address, "--log-level", "error", "--graceful-timeout", "5"]
    hypercorn = [python, "-m", "hypercorn", "tests.servers.apps:asgi()", "--bind", address]
    granian = [python, "-m", "granian", "--host", "127.0.0.1", "--port", str(port), "--factory", "--no-ws"]
    commands = {
        "uvicorn": uvicorn,
        "uvicorn-asyncio": [*uvicorn, "--loop", "asyncio"],
        "uvicorn-h11": [*uvicorn, "--http", "h11", "--loop", "asyncio"],
        "gunicorn-gthread": [*gunicorn, "-k", "gthread", "--threads", "32", "tests.servers.apps:wsgi()"],
        "gunicorn-sync": [*gunicorn, "--workers", "4", "tests.servers.apps:wsgi()"],
        "gunicorn-asgi": [*gunicorn, "-k", "asgi", "tests.servers.apps:asgi()"],
        "hypercorn-asyncio": hypercorn,
        "hypercorn-trio": [*hypercorn, "-k", "trio"],
        "granian-asgi": [*granian, "--interface", "asgi", "tests.servers.apps:asgi"],
        "granian-wsgi": [*granian, "--interface", "wsgi", "--blocking-threads", "32", "tests.servers.apps:wsgi"],
    }
    serve = [python, "-m", "tests.servers.serve", server, str(port)]
    return commands.get(server, serve)


@dataclass
class RunningServer:
    """A server process and how to speak to it."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def client(self) -> WireClient:
        return WireClient(self.port)

    def kill(self) -> None:
        """SIGKILL for the process and for its workers, which granian's outlive it otherwise."""
        workers = self._children()
        self.process.kill()
        self.process.wait()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def stop(self, within: float = 20.0) -> int:
        """SIGTERM, and the exit code once it has ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def threads(self) -> int:
        status = Path(f"/proc/{self._worker()}/status").read_text()
        return int(status.partition("Threads:")[2].split()[0])

    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self._worker()}/fd").iterdir()))

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self._worker()}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def _worker(self) -> int:
        """The process that serves: the first child of a supervisor, else the process itself."""
        children = self._children()
        return children[0] if children else self.process.pid

    def _children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


def await_port(port: int, process: subprocess.Popen[bytes], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server does not listen")


@contextmanager
def running(
    server: str, directory: Path, *, environment: Mapping[str, str] | None = None, **settings: object
) -> Iterator[RunningServer]:
    """A server of that name, serving `directory` at /files with these Config settings."""
    port = free_port()
    settings = {"directory": str(directory), **settings}
    with serving(
        _command(server, port), port, directory, {SETTINGS: json.dumps(settings), **(environment or {})}
    ) as process:
        yield RunningServer(server, port, process, directory)


@contextmanager
def serving(
    command: Sequence[str], port: int, directory: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on `port`, started beside the `directory` of its uploads; ended afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen(command, env=environ, cwd=directory.parent)
    try:
        await_port(port, process)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
