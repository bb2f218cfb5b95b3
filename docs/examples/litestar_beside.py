"""Litestar with uploads beside it.

uvicorn litestar_beside:app
"""

from __future__ import annotations

from litestar import Litestar, get

from tuspy_server import ASGIApp, FileStore
from tuspy_server.integrations.asgi import beside


@get("/", sync_to_thread=False)
def home() -> str:
    return "Upload to /files"


litestar = Litestar(route_handlers=[home])
app = beside("/files", ASGIApp(FileStore("uploads")), litestar)
