"""Uploads beside an ASGI app that has no mounts of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from tuspy_server.asgi import ASGIApp, Receive, Scope, Send
from tuspy_server.protocol.resolve import below_root

Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def beside(prefix: str, app: ASGIApp, host: Callable[..., Awaitable[Any]]) -> Application:
    """An ASGI app that serves `app` at `prefix` and below, and `host` everywhere else, lifespan included."""
    prefix = "/" + prefix.strip("/")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        root_path = scope.get("root_path", "")
        path = below_root(scope["path"], root_path) if scope["type"] == "http" else ""
        if path == prefix or path.startswith(prefix + "/"):
            await app({**scope, "app_root_path": root_path, "root_path": root_path + prefix}, receive, send)
        else:
            await host(scope, receive, send)

    return application
