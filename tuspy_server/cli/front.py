"""What stands before the upload app in the command: greeting, health, and one log line per request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio.to_thread

from tuspy_server import __version__
from tuspy_server.asgi import ASGIApp, Message, Receive, Scope, Send
from tuspy_server.cli.logs import AccessLog, cut, redacted, request_id
from tuspy_server.cli.settings import Settings

if TYPE_CHECKING:
    from tuspy_server.observability.prometheus import PrometheusMetrics

_LONGEST_REQUEST_ID = 64


class Front:
    """Answers GET of its own pages, everything else with the upload app, and logs each answer.

    What is outside the base path is the upload app's to refuse: it answers 404. Health checks and scrapes are logged
    at DEBUG. Runs on asyncio.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: PrometheusMetrics | None = None) -> None:
        self.app = app
        self._base_path = settings.listening.base_path
        greets = settings.listening.show_greeting and self._base_path != "/"
        self._pages = {"/": _greeting(self._base_path)} if greets else {}
        self._health_path = settings.listening.health_path
        self._metrics = None if settings.metrics.metrics_port else metrics
        self._metrics_path = settings.metrics.metrics_path
        self._stopping = False
        self._is_verbose = settings.logs.verbose
        self.log = AccessLog(settings.logs.log_format, lambda flush: asyncio.get_running_loop().call_soon(flush))

    def stop(self) -> None:
        """Let running uploads keep their bytes and end; the health page says so from now on."""
        self._stopping = True
        self.app.shutdown()

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

        request_id.set(_request_id(scope))  # also to none: a pipelined request begins in the context of the one before
        try:
            page = self._page(scope)
            if self._is_scrape(scope):
                await self._show_metrics(scope, noted)
            elif page is None:
                await self.app(scope, receive, noted)
            else:
                await _answer(page, scope["method"], noted)
        finally:
            self._log(scope, status, created, time.perf_counter() - started)

    def _is_scrape(self, scope: Scope) -> bool:
        return self._metrics is not None and scope["path"] == self._metrics_path and scope["method"] in ("GET", "HEAD")

    async def _show_metrics(self, scope: Scope, send: Send) -> None:
        assert self._metrics is not None
        accept = _field(scope["headers"], b"accept").decode("latin-1")
        page, content_type = await anyio.to_thread.run_sync(self._metrics.scrape, accept)
        await _answer((200, page), scope["method"], send, content_type)

    def _page(self, scope: Scope) -> tuple[int, bytes] | None:
        """Status and text of a page of our own."""
        if scope["method"] not in ("GET", "HEAD"):
            return None
        path = scope["path"]
        if path == self._health_path:
            return (503, b"stopping\n") if self._stopping else (200, b"ok\n")
        text = self._pages.get(path)
        return None if text is None else (200, text)

    def _log(self, scope: Scope, status: int, created: bytes, seconds: float) -> None:
        is_quiet = scope["path"] == self._health_path or self._is_scrape(scope)
        if is_quiet and not self._is_verbose:
            return
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
        self.log.write("DEBUG" if is_quiet else "INFO", fields)


async def _answer(
    page: tuple[int, bytes], method: str, send: Send, content_type: str = "text/plain; charset=utf-8"
) -> None:
    status, text = page
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(text)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else text})


def _greeting(base_path: str) -> bytes:
    return f"tuspy-server {__version__}\n\nResumable uploads (tus 1.0.0) are served at {base_path}\n".encode()


def _request_id(scope: Scope) -> str:
    """X-Request-ID, as far as it is fit for a log."""
    text = _field(scope["headers"], b"x-request-id").decode("latin-1")
    return text if text.isprintable() and len(text) <= _LONGEST_REQUEST_ID else ""


def _field(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    for name, value in headers:
        if name == wanted:
            return value
    return b""
