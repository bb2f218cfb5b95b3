"""Sending 104 answers, where the server lets us: gunicorn's asgi worker by a message, uvicorn through its cycle.

ASGI has no general interim message. For other servers, for HTTP/1.0 and once the answer has begun there is no
sender, and 104 is advice: nothing depends on its arrival.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tuspy_server.models import Headers

Interim: TypeAlias = Callable[[Headers], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STATUS = 104
_REASON = "Upload Resumption Supported"
_UVICORN = ("uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.http.h11_impl")


def find(scope: Scope, receive: object, send: Send) -> Interim | None:
    """How to send a 104 on this connection, None where it cannot be done. `receive` is the server's own."""
    if scope.get("http_version") != "1.1":
        return None
    announced = "http.response.informational" in (scope.get("extensions") or {})
    if announced or getattr(send, "__module__", "") == "gunicorn.asgi.protocol":
        return _by_message(send)
    cycle = getattr(receive, "__self__", None)
    return _by_transport(cycle) if _is_uvicorns(cycle) else None


def _by_message(send: Send) -> Interim:
    async def interim(headers: Headers) -> None:
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.informational", "status": STATUS, "headers": encoded})

    return interim


def _is_uvicorns(cycle: object) -> bool:
    modules = (sys.modules.get(name) for name in _UVICORN)
    types = [getattr(module, "RequestResponseCycle", None) for module in modules if module is not None]
    known = hasattr(cycle, "transport") and hasattr(cycle, "response_started") and hasattr(cycle, "disconnected")
    return type(cycle) in types and known


def _by_transport(cycle: Any) -> Interim:
    async def interim(headers: Headers) -> None:
        if cycle.response_started or cycle.disconnected or any(_breaks(value) for _, value in headers):
            return
        lines = [f"HTTP/1.1 {STATUS} {_REASON}", *(f"{name}: {value}" for name, value in headers)]
        cycle.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    return interim


def _breaks(value: str) -> bool:
    return "\r" in value or "\n" in value
