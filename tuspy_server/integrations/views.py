"""Running the WSGI app inside a host framework's view."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from tuspy_server.errors import TusError
from tuspy_server.models import Request
from tuspy_server.protocol.fields import content
from tuspy_server.wsgi import Environ, StreamBody, WSGIApp

_FRAMING = (
    ("content-length", "CONTENT_LENGTH"),
    ("transfer-encoding", "HTTP_TRANSFER_ENCODING"),
    ("expect", "HTTP_EXPECT"),
)
METHODS = ("POST", "HEAD", "GET", "PATCH", "DELETE", "PUT")


def mount_of(path: str, upload_id: str) -> str:
    """The collection's path, from that of a request for it (with or without a slash) or for an upload."""
    return path.rpartition("/")[0] if upload_id or path.endswith("/") else path


@dataclass(frozen=True, slots=True)
class Answered:
    """What the app answered; the body must be closed by whoever sends it."""

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]


def drain(app: WSGIApp, environ: Environ) -> None:
    """Read a bounded part of a body that was refused, once the answer was sent, so that the client gets to read it."""
    headers = [(name, environ[key]) for name, key in _FRAMING if environ.get(key)]
    with suppress(TusError):
        announced = content(Request(method=environ["REQUEST_METHOD"], url="", path="", headers=tuple(headers)))
        StreamBody(environ, announced, app.config).drain()


def run_view(app: WSGIApp, environ: Environ, upload_id: str) -> Answered:
    """Serve one request; the app takes what lies above `upload_id` for its mount."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], /) -> None:
        begun.append((status, headers))

    path: str = environ["PATH_INFO"]
    mount = mount_of(path, upload_id)
    mounted = {"SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + mount, "PATH_INFO": path[len(mount) :]}
    body = app({**environ, **mounted}, start_response)
    return Answered(*begun[0], body)
