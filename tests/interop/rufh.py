"""A client of resumable uploads (RUFH) over raw sockets, and servers for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.interop.rufh_app import SETTINGS
from tests.protocol.drafts import PARTIAL, complete
from tests.servers.ports import free_port
from tests.servers.running import serving
from tests.servers.wire import Wire, WireAnswer

BASE = "/files"


class DraftWire(Wire):
    """A connection whose requests name no protocol by themselves."""

    def send_head(self, method: str, target: str, headers: Mapping[str, str] | None = None) -> None:
        path = urlsplit(target).path if "://" in target else target
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")


@dataclass(frozen=True)
class DraftClient:
    """Speaks one interop version, None for none; each request on a connection of its own."""

    port: int
    version: int | None = 9
    user: str | None = None

    def speaking(self, version: int | None) -> DraftClient:
        return replace(self, version=version)

    def fields(self, headers: Mapping[str, str]) -> dict[str, str]:
        found = {} if self.version is None else {"Upload-Draft-Interop-Version": str(self.version)}
        if self.user is not None:
            found["X-User"] = self.user
        return found | {name.replace("_", "-"): value for name, value in headers.items()}

    def last(self, value: bool) -> dict[str, str]:
        return complete(self.version or 9, value)

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> WireAnswer:
        wire = DraftWire(self.port)
        try:
            wire.send_head(method, target, self._framed(method, self.fields(headers or {}), body))
            if body:
                wire.send(body)
            return wire.receive(head=method == "HEAD")
        finally:
            wire.finish()

    def _framed(self, method: str, headers: dict[str, str], body: bytes | None) -> dict[str, str]:
        if body is not None or method in ("POST", "PUT", "PATCH"):
            headers.setdefault("Content-Length", str(len(body or b"")))
        return headers

    def begin(
        self, method: str, target: str, headers: Mapping[str, str], size: int | None, body: bytes = b""
    ) -> DraftWire:
        """A request of `size` bytes (None: chunked) of which only `body` has been sent so far."""
        framing = {"Transfer-Encoding": "chunked"} if size is None else {"Content-Length": str(size)}
        wire = DraftWire(self.port)
        wire.send_head(method, target, self.fields(headers) | framing)
        if body:
            wire.send(body) if size is not None else wire.send_chunk(body)
        return wire

    # Operations

    def post(self, body: bytes = b"", *, last: bool, method: str = "POST", **headers: str) -> WireAnswer:
        return self.request(method, BASE, {**self.last(last), **headers}, body)

    def create(self, body: bytes = b"", **headers: str) -> str:
        """A new upload that goes on; returns the path of its URL."""
        answer = self.post(body, last=False, **headers)
        assert answer.status == 201, answer
        return urlsplit(answer["location"]).path

    def appending(self, offset: int, last: bool, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        return {"Content-Type": PARTIAL, "Upload-Offset": str(offset), **self.last(last), **(headers or {})}

    def append(self, upload: str, offset: int, body: bytes = b"", *, last: bool, **headers: str) -> WireAnswer:
        return self.request("PATCH", upload, self.appending(offset, last, headers), body)

    def chunked(self, upload: str, offset: int, body: bytes, *, last: bool, **headers: str) -> WireAnswer:
        wire = self.begin("PATCH", upload, self.appending(offset, last, headers), None, body)
        wire.send_chunk(b"")
        return wire.receive()

    def head(self, upload: str, **headers: str) -> WireAnswer:
        return self.request("HEAD", upload, headers)

    def offset(self, upload: str) -> int:
        answer = self.head(upload)
        assert answer.status == 204, answer
        return answer.offset

    def delete(self, upload: str, **headers: str) -> WireAnswer:
        return self.request("DELETE", upload, headers)

    def get(self, upload: str) -> WireAnswer:
        return self.request("GET", upload)

    def says_complete(self, answer: WireAnswer) -> bool | None:
        """Completeness as an answer tells it to this version; None if it does not."""
        value = answer.headers.get("upload-incomplete" if self.version == 3 else "upload-complete")
        assert value in ("?0", "?1", None)
        return None if value is None else (value == "?1") is (self.version != 3)


@dataclass
class DraftServer:
    """A running server and its files."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | subprocess.Popen[str]
    directory: Path

    def client(self, version: int | None = 9, user: str | None = None) -> DraftClient:
        return DraftClient(self.port, version, user)

    def stored(self, upload: str) -> int:
        """How many bytes lie in the file: asking with HEAD would end a running append."""
        return (self.directory / upload.rpartition("/")[2]).stat().st_size

    def ends(self, upload: str) -> int:
        """How often the app was asked for the final answer of an upload."""
        ended = self.directory.parent / "ends"
        return ended.read_text().split().count(upload.rpartition("/")[2]) if ended.exists() else 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _command(name: str, port: int) -> list[str]:
    uvicorn = ["-m", "uvicorn", "--factory", "tests.interop.rufh_app:asgi", "--port", str(port), "--log-level", "error"]
    gunicorn = ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    hypercorn = ["-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    commands = {
        "asgi": uvicorn,
        "asgi-h11": [*uvicorn, "--http", "h11"],
        "hypercorn": [*hypercorn, "tests.interop.rufh_app:asgi()"],
        "gunicorn-asgi": [*gunicorn, "-k", "asgi", "tests.interop.rufh_app:asgi()"],
        "wsgi": [*gunicorn, "-k", "gthread", "--threads", "16", "tests.interop.rufh_app:wsgi()"],
    }
    return [sys.executable, *commands[name]]


@contextmanager
def draft_server(name: str, directory: Path, **settings: object) -> Iterator[DraftServer]:
    """uvicorn ("asgi", "asgi-h11"), hypercorn or gunicorn, serving `directory` at /files with these Config settings."""
    port = free_port()
    settings = {"directory": str(directory), **settings}
    with serving(_command(name, port), port, directory, {SETTINGS: json.dumps(settings)}) as process:
        yield DraftServer(name, port, process, directory)
