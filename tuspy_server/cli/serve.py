"""Serving: the sockets, one process's server, and what runs beside it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import uvicorn

from tuspy_server.asgi import ASGIApp
from tuspy_server.cli import workers
from tuspy_server.cli.build import check, make_app
from tuspy_server.cli.front import Front
from tuspy_server.cli.settings import Listening, Settings
from tuspy_server.errors import TusError
from tuspy_server.servers.uvicorn import Server, UploadProtocol

BACKLOG = 2048
KEEP_ALIVE = 75  # seconds; longer than the 60 that proxies keep theirs, or they send into a closing connection

log = logging.getLogger("tuspy_server.server")


def serve(settings: Settings) -> int:
    """Serve until a signal ends it. Returns an exit code; raises SettingsError, TusError and OSError before that."""
    check(settings)
    app = make_app(settings)
    sockets = listen(settings.listening)
    log.info("storing in %s", settings.files.upload_dir)
    log.info("listening on %s", url(settings.listening, sockets[0]))
    if settings.listening.workers == 1:
        run(app, settings, sockets)
        log.info("stopped")
        return 0
    return workers.supervise(settings, sockets)


def listen(listening: Listening) -> list[socket.socket]:
    """Listening sockets at every address of the host; with port 0, all at the port the first one was given.

    Raises OSError with a sentence.
    """
    try:
        return _listeners(listening)
    except OSError as exc:
        where = f"{listening.host}:{listening.port}"
        raise OSError(f"cannot listen at {where}: {exc.strerror or exc}") from exc


def _listeners(listening: Listening) -> list[socket.socket]:
    found = socket.getaddrinfo(listening.host or None, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    port = listening.port
    for family, _, _, _, address in dict.fromkeys(found):
        made = _listener(family, (address[0], port, *address[2:]))
        port = port or made.getsockname()[1]
        sockets.append(made)
    return sockets


def _listener(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def url(listening: Listening, listener: socket.socket) -> str:
    """Where uploads are created, with the port that was really taken."""
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    return f"http://{host}:{listener.getsockname()[1]}{listening.base_path}"


def run(app: ASGIApp, settings: Settings, sockets: list[socket.socket], *, worker: int | None = None) -> None:
    """Serve in this process until a signal; `worker` is its number under a supervisor."""
    UploadProtocol.head_timeout = settings.timeouts.network_timeout
    config = uvicorn.Config(
        Front(app, settings),
        http=UploadProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.timeouts.shutdown_timeout),
    )
    beside: list[Callable[[], Awaitable[None]]] = []
    if settings.uploads.sweep_interval and not worker:
        beside.append(partial(_sweep_regularly, app, settings.uploads.sweep_interval))
    server = Server(config, on_stop=partial(_stop, app), beside=beside, heeds_interrupt=worker is None)
    if worker is not None:
        workers.end_with_parent(server)
    server.run(sockets=sockets)


def _stop(app: ASGIApp) -> None:
    log.info("stopping: requests may end, a second signal ends them")
    app.shutdown()


async def _sweep_regularly(app: ASGIApp, interval: float) -> None:
    while True:
        try:
            swept = [found for found in await app.sweep() if found.action not in ("kept", "busy")]
        except TusError as exc:
            log.warning("the sweep failed: %s", exc)
        else:
            if swept:
                log.info("swept", extra={"fields": {"uploads": len(swept)}})
        await asyncio.sleep(interval)
