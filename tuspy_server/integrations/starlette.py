"""Starlette and FastAPI: a mount that also answers at its bare path."""

from __future__ import annotations

from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Scope


class TusMount(Mount):
    """Serves an `ASGIApp` at `path` and at `path/`; a plain Mount answers the former with a redirect.

    Clients do not follow it: tus-js-client posts to the URL it was given, and a browser's preflight may not be
    redirected.
    """

    def __init__(self, path: str, app: ASGIApp, name: str | None = None) -> None:
        super().__init__(path, app, name=name)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is Match.NONE and scope["type"] == "http":
            match, child = super().matches({**scope, "path": scope["path"] + "/"})
        return match, child
