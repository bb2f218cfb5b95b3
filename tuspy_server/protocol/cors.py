"""Cross-origin answers: which fields a browser may send and see."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tuspy_server.config import Cors
from tuspy_server.errors import OriginNotAllowed
from tuspy_server.models import Headers, Request

METHODS = ("POST", "HEAD", "PATCH", "OPTIONS", "GET", "DELETE", "PUT")
ALLOW_HEADERS = (
    "Authorization",
    "Content-Digest",
    "Content-Disposition",
    "Content-Type",
    "Origin",
    "Repr-Digest",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Want-Repr-Digest",
    "X-HTTP-Method-Override",
    "X-Request-ID",
    "X-Requested-With",
)
EXPOSE_HEADERS = (
    "Location",
    "Repr-Digest",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
)


def _is_allowed(origin: str, cors: Cors) -> bool:
    allowed = cors.allow_origins
    if isinstance(allowed, str):
        return True
    if isinstance(allowed, re.Pattern):
        return allowed.fullmatch(origin) is not None
    return allowed(origin) if callable(allowed) else origin in allowed


def _joined(names: Sequence[str], extra: Sequence[str]) -> str:
    return ", ".join([*names, *extra])


def cors_headers(request: Request, cors: Cors) -> Headers:
    """The fields for every answer to this request. Raises OriginNotAllowed, whose answer carries none of them."""
    origin = request.header("origin")
    if origin is None or not cors.enabled:
        return ()
    if not _is_allowed(origin, cors):
        raise OriginNotAllowed
    any_origin = cors.allow_origins == "*"
    headers = [("Access-Control-Allow-Origin", "*" if any_origin else origin)]
    if not any_origin:
        headers.append(("Vary", "Origin"))
    if cors.allow_credentials:
        headers.append(("Access-Control-Allow-Credentials", "true"))
    if request.method == "OPTIONS":
        headers += [
            ("Access-Control-Allow-Methods", _joined(METHODS, cors.extra_methods)),
            ("Access-Control-Allow-Headers", _joined(ALLOW_HEADERS, cors.extra_headers)),
            ("Access-Control-Max-Age", str(cors.max_age)),
        ]
    else:
        headers.append(("Access-Control-Expose-Headers", _joined(EXPOSE_HEADERS, cors.extra_expose)))
    return tuple(headers)
