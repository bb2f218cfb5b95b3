"""The cross-origin fields for a refusal that a host framework writes: without them a browser cannot read it."""

from __future__ import annotations

from tuspy_server.config import Cors
from tuspy_server.errors import OriginNotAllowed
from tuspy_server.models import Headers, Request
from tuspy_server.protocol.cors import cors_headers


def refusal_headers(method: str, origin: str | None, cors: Cors) -> Headers:
    """The fields to add; none for a request that is not cross-origin, or whose origin is not allowed."""
    if origin is None:
        return ()
    try:
        return cors_headers(Request(method=method, url="", path="", headers=(("origin", origin),)), cors)
    except OriginNotAllowed:
        return ()
