"""FastAPI with uploads mounted.

uvicorn fastapi_mount:app
"""

from __future__ import annotations

from fastapi import FastAPI

from tuspy_server import ASGIApp, FileStore
from tuspy_server.integrations.starlette import TusMount

app = FastAPI()
app.router.routes.append(TusMount("/files", ASGIApp(FileStore("uploads"))))


@app.get("/")
def home() -> str:
    return "Upload to /files"
