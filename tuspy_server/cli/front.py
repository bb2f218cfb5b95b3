"""What stands before the upload app in the command: the greeting and one log line per request."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from tuspy_server import __version__
from tuspy_server.asgi import ASGIApp, Message, Receive, Scope, Send
from tuspy_server.cli.logs import cut, redacted, request_id
from tuspy_server.cli.settings import Settings

_LONGEST_REQUEST_ID = 64

log = logging.getLogger("tuspy_server.access")


class Front:
    """Answers GET / with a greeting, everything else with the upload app, and logs each answer.

    What is outside the base path is the upload app's to refuse: it answers 404.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._base_path = settings.listening.base_path
        greets = settings.listening.show_greeting and self._base_path != "/"
        self._greeting = _greeting(self._base_path) if greets else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status, created = 0, b""

        async def noted(message: Message) -> None:
            nonlocal status, created
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == 201:
                    created = _field(message["headers"], b"location")
            await send(message)

        request_id.set(_request_id(scope))
        try:
            if self._greeting is not None and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
                await self._greet(scope["method"], self._greeting, noted)
            else:
                await self.app(scope, receive, noted)
        finally:
            self._log(scope, status, created, time.perf_counter() - started)

    async def _greet(self, method: str, text: bytes, send: Send) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else text})

    def _log(self, scope: Scope, status: int, created: bytes, seconds: float) -> None:
        client = scope.get("client")
        fields: dict[str, object] = {
            "method": scope["method"],
            "path": redacted(scope["path"], self._base_path),
            "status": status,
            "ms": round(seconds * 1000, 1),
            "client": client[0] if client else "",
        }
        if created:
            fields["created"] = cut(created.decode("latin-1").rpartition("/")[2])
        log.info("request", extra={"fields": fields})


def _greeting(base_path: str) -> bytes:
    return f"tuspy-server {__version__}\n\nResumable uploads (tus 1.0.0) are served at {base_path}\n".encode()


def _request_id(scope: Scope) -> str:
    """X-Request-ID, as far as it is fit for a log."""
    text = _field(scope["headers"], b"x-request-id").decode("latin-1")
    return text if text.isprintable() and len(text) <= _LONGEST_REQUEST_ID else ""


def _field(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")
