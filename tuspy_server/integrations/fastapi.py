"""FastAPI: a router whose dependencies run before the body of an upload is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.params import Depends as Dependency
from starlette.types import Receive, Scope, Send

from tuspy_server.asgi import ASGIApp
from tuspy_server.integrations.cross_origin import refusal_headers
from tuspy_server.integrations.views import METHODS, mount_of
from tuspy_server.protocol.resolve import below_root


def tus_router(path: str, app: ASGIApp, *, dependencies: Sequence[Dependency] = ()) -> APIRouter:
    """Serves `app`, whose Config has no `base_path`, at `path` and below, behind `dependencies`.

    One that raises ends the request before a byte is read, stored, or a lock asked for. A dependency may leave
    what it found in `request.state`: hooks and `Config.principal` see it as `request.native["state"]`. None may
    read the body. OPTIONS is answered without them, since a browser's preflight carries no credentials.
    """
    router = APIRouter()

    async def serve(request: Request) -> Response:
        return _Answer(app)

    async def allow_reading(request: Request) -> AsyncIterator[None]:
        try:
            yield
        except HTTPException as exc:
            added = refusal_headers(request.method, request.headers.get("origin"), app.config.cors)
            exc.headers = {**dict(added), **(exc.headers or {})}
            raise

    before = [Depends(allow_reading), *dependencies]
    for route in (path, f"{path}/", f"{path}/{{upload_id}}"):
        router.add_route(route, serve, methods=["OPTIONS"], include_in_schema=False)
        router.add_api_route(route, serve, methods=list(METHODS), dependencies=before, include_in_schema=False)
    return router


class _Answer(Response):
    """Written by an ASGI app, which reads the request's body meanwhile."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root_path = scope.get("root_path", "")
        outer = scope.get("app_root_path", root_path)
        path = below_root(scope["path"], root_path, outer)
        mount = mount_of(path, scope["path_params"].get("upload_id", ""))
        await self._app({**scope, "app_root_path": outer, "root_path": root_path + mount}, receive, send)
        if self.background is not None:
            await self.background()
