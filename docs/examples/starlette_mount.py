"""Starlette with uploads mounted, which expire after a day without a byte.

hypercorn --worker-class trio starlette_mount:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette

from tuspy_server import ASGIApp, Config, FileStore
from tuspy_server.integrations.starlette import TusMount

tus = ASGIApp(FileStore("uploads"), Config(expires_after=24 * 3600, sliding=True))


async def sweep_hourly() -> None:
    while True:
        await tus.sweep()
        await anyio.sleep(3600)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweep_hourly)
        yield
        tasks.cancel_scope.cancel()


app = Starlette(routes=[TusMount("/files", tus)], lifespan=lifespan)
