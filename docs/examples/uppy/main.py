"""A page with Uppy that uploads to the app it comes from.

uvicorn uppy.main:app
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from tuspy_server import ASGIApp, FileStore
from tuspy_server.integrations.starlette import TusMount


def page(request: Request) -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


app = Starlette(routes=[Route("/", page), TusMount("/files", ASGIApp(FileStore("uploads")))])
