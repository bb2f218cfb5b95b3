"""Quart with uploads beside it.

hypercorn quart_beside:app
"""

from __future__ import annotations

from quart import Quart

from tuspy_server import ASGIApp, FileStore
from tuspy_server.integrations.asgi import beside

quart = Quart(__name__)
tus = ASGIApp(FileStore("uploads"))
app = beside("/files", tus, quart)


@quart.get("/")
async def home() -> str:
    return "Upload to /files"


@quart.after_serving
async def shut_down() -> None:
    tus.shutdown()
