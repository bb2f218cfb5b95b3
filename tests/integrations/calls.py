"""Calls to an app as servers make them: the same request as an ASGI scope and as a WSGI environ."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, unquote_to_bytes

Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """A response without its body, header names in lower case; `unread` bytes of the request were left alone before."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    unread: int = 0

    def __getitem__(self, name: str) -> str:
        return self.headers[name]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it arrives at a server that was told its `root_path`."""

    method: str
    target: str
    headers: Headers = ()
    peer: str = "127.0.0.1"
    root_path: str = ""
    body: bytes = b""

    def fields(self) -> list[tuple[str, str]]:
        given = {name for name, _ in self.headers}
        usual = [("host", "example.org"), ("tus-resumable", "1.0.0"), ("content-length", str(len(self.body)))]
        return [*((name, value) for name, value in usual if name not in given), *self.headers]

    def scope(self) -> dict[str, Any]:
        """As uvicorn makes it: the root path is put before the path."""
        raw, _, query = self.target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.root_path + unquote(raw),
            "raw_path": (self.root_path + raw).encode(),
            "query_string": query.encode(),
            "root_path": self.root_path,
            "headers": [(name.encode(), value.encode()) for name, value in self.fields()],
            "client": (self.peer, 50000),
            "server": ("127.0.0.1", 80),
            "state": {},
        }

    def environ(self) -> dict[str, Any]:
        """As gunicorn makes it: the path as bytes, written as latin-1, without the script name."""
        raw, _, query = self.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": quote(self.root_path),
            "PATH_INFO": unquote_to_bytes(raw).decode("latin-1"),
            "RAW_URI": self.target,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.peer,
            "CONTENT_LENGTH": str(len(self.body)),
            "CONTENT_TYPE": dict(self.headers).get("content-type", ""),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        fields = [(name, value) for name, value in self.fields() if not name.startswith("content-")]
        return environ | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields}


Ask: TypeAlias = Callable[[Asked], Answer]


def ask_asgi(app: Any) -> Ask:
    async def call(asked: Asked) -> Answer:
        sent: list[Any] = []
        left = [asked.body]

        async def receive() -> dict[str, Any]:
            if not left:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": left.pop(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(asked.scope(), receive, send)
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, sum(map(len, left)))

    return lambda asked: asyncio.run(call(asked))


def ask_wsgi(app: Any) -> Ask:
    def call(asked: Asked) -> Answer:
        begun: list[Any] = []

        def start_response(*arguments: object) -> None:
            begun.extend(arguments[:2])

        environ = asked.environ()
        body: Iterable[bytes] = app(environ, start_response)
        list(body)
        unread = len(asked.body) - environ["wsgi.input"].tell()
        getattr(body, "close", lambda: None)()
        status, headers = begun
        return Answer(int(status.split()[0]), {name.lower(): value for name, value in headers}, unread)

    return call
