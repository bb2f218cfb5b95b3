"""Starting and ending the emulators that run as processes of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def program(name: str, variable: str, *folders: Path) -> str | None:
    """Where a program is: in the environment variable, on PATH, or in one of `folders`."""
    given = os.environ.get(variable)
    if given:
        return given
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, folders)))


@contextmanager
def running(command: Sequence[str], port: int, log: Path, *, within: float = 30.0) -> Iterator[int]:
    """A process that listens on `port`, killed at the end. Raises RuntimeError with its output if it never does."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _await_port(process, port, log, within)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path, within: float) -> None:
    deadline = time.monotonic() + within
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on {port}: {log.read_text(errors='replace')[-2000:]}")
