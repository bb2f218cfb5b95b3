"""The real command as a child process, and requests to it over plain sockets."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

PATIENCE = 30.0
START_PATIENCE = 120.0  # an overloaded machine takes its time over the imports of a cloud's SDK
_LISTENING = re.compile(r"listening on ((?:https?://|unix:)\S+?)\"?(?:[,}\s]|$)")

TUS = {"Tus-Resumable": "1.0.0"}
APPEND = {**TUS, "Content-Type": "application/offset+octet-stream"}


class Served:
    """`tuspy-server` on a free port of this machine until the block ends."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self._python = python
        self._directory = directory
        self._host = host
        self._arguments = arguments
        self._environment = dict(environment or {})
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ended = False

    def __enter__(self) -> Served:
        here = ["--host", self._host, "--port", "0", "--upload-dir", str(self._directory)]
        self.process = subprocess.Popen(
            [self._python, "-m", "tuspy_server", *here, *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **self._environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self.url = self.wait_for(_LISTENING, patience=START_PATIENCE)[1]
        except BaseException:
            self._end()
            raise
        self.address = (urlsplit(self.url).hostname or "", urlsplit(self.url).port or 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """What it has printed so far."""
        with self._changed:
            return list(self._lines)

    def wait_for(self, pattern: str | re.Pattern[str], count: int = 1, *, patience: float = PATIENCE) -> re.Match[str]:
        """The match of the count-th line that it prints, has printed or will print."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._matches(pattern)) >= count, patience)
            found = self._matches(pattern)
        assert len(found) >= count, f"no {pattern!r} in {self._lines}"
        return found[count - 1]

    def _matches(self, pattern: str | re.Pattern[str]) -> list[re.Match[str]]:
        return [found for line in self._lines if (found := re.search(pattern, line))]

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def request(
        self, method: str, url: str, headers: Mapping[str, str] = TUS, body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request on a connection of its own. `url` is absolute or a path."""
        client = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            target = url if url.startswith("/") else urlsplit(url).path
            client.request(method, target, body=body, headers=dict(headers))
            response = client.getresponse()
            return response.status, response.headers, response.read()
        finally:
            client.close()

    def create(self, size: int) -> str:
        """The URL of a new upload."""
        status, headers, _ = self.request("POST", self.url, {**TUS, "Upload-Length": str(size)})
        assert status == 201
        return headers["Location"]

    def upload(self, content: bytes) -> str:
        """The URL of a complete upload."""
        fields = {**APPEND, "Upload-Length": str(len(content))}
        status, headers, answer = self.request("POST", self.url, fields, content)
        assert status == 201, (status, answer, self.lines)
        return headers["Location"]

    def offset(self, url: str) -> int:
        status, headers, _ = self.request("HEAD", url)
        assert status in (200, 204)
        return int(headers["Upload-Offset"])

    def begin_append(self, url: str, part: bytes, whole: int) -> socket.socket:
        """A connection on which `part` of a PATCH of `whole` bytes has been sent."""
        client = self.connect()
        head = [f"PATCH {urlsplit(url).path} HTTP/1.1", f"Host: {self.address[0]}", f"Content-Length: {whole}"]
        fields = [f"{name}: {value}" for name, value in {**APPEND, "Upload-Offset": "0"}.items()]
        client.sendall("\r\n".join([*head, *fields, "", ""]).encode() + part)
        return client

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)


def wait_until_stored(directory: Path, size: int) -> None:
    """Until a file of exactly this size is in the directory."""
    deadline = time.monotonic() + PATIENCE
    while not any(entry.stat().st_size == size for entry in directory.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until(true: Callable[[], bool]) -> None:
    """Until something can be seen that nobody tells of."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tuspy_server", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
