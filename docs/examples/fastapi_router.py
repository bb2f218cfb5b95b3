"""FastAPI with uploads behind a dependency, which runs before the body is read.

uvicorn fastapi_router:app
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tuspy_server import ASGIApp, Config, FileStore
from tuspy_server import Request as TusRequest
from tuspy_server.integrations.fastapi import tus_router

USERS = {"secret-of-alice": "alice"}


def require_user(request: Request, token: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
    if token.credentials not in USERS:
        raise HTTPException(401)
    request.state.user = USERS[token.credentials]


def user_of(request: TusRequest) -> str | None:
    user: str | None = request.native["state"].get("user")  # type: ignore[index]  # the ASGI scope
    return user


app = FastAPI()
tus = ASGIApp(FileStore("uploads"), Config(principal=user_of))
app.include_router(tus_router("/files", tus, dependencies=[Depends(require_user)]))
