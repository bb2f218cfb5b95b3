"""Serving: one process's server, and what runs beside it."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from tuspy_server.asgi import ASGIApp
from tuspy_server.cli import sockets, workers
from tuspy_server.cli.build import make_app
from tuspy_server.cli.front import Front
from tuspy_server.cli.hooking import receivers
from tuspy_server.cli.metrics import make_metrics, serve_metrics, share_metrics
from tuspy_server.cli.settings import Settings
from tuspy_server.cli.storage import check_locker, place, prepare
from tuspy_server.errors import TusError
from tuspy_server.servers.uvicorn import Server, UploadProtocol

if TYPE_CHECKING:
    from tuspy_server.observability.prometheus import PrometheusMetrics

KEEP_ALIVE = 75  # seconds; longer than the 60 that proxies keep theirs, or they send into a closing connection

log = logging.getLogger("tuspy_server.server")


def serve(settings: Settings) -> int:
    """Serve until a signal ends it. Returns an exit code; raises SettingsError, TusError and OSError before that."""
    with ExitStack() as to_the_end, ExitStack() as until:
        share_metrics(settings, to_the_end)
        metrics = make_metrics(settings)
        app = make_app(settings, until, [] if metrics is None else [metrics])
        prepare(app.composer.store, settings)
        check_locker(app.composer.locker)
        sockets.tls_context(settings.tls)
        with sockets.listening(settings.listening) as listeners:
            serve_metrics(settings, metrics, to_the_end)
            announce = partial(_announce, settings, listeners[0])
            if settings.listening.workers > 1:
                until.close()  # the workers make their own
                return workers.supervise(settings, listeners, announce)
            run(app, settings, listeners, announce, metrics)
            log.info("stopped")
            return 0


def _announce(settings: Settings, listener: socket.socket) -> None:
    if not settings.logs.show_startup_logs:
        return
    log.info("storing in %s", place(settings))
    if told := receivers(settings):
        log.info("telling %s", ", ".join(told))
    log.info("listening on %s", sockets.url(settings, listener))


def run(
    app: ASGIApp,
    settings: Settings,
    listeners: list[socket.socket],
    on_start: Callable[[], None],
    metrics: PrometheusMetrics | None = None,
    *,
    worker: int | None = None,
) -> None:
    """Serve in this process until a signal; `worker` is its number under a supervisor."""
    UploadProtocol.head_timeout = settings.timeouts.network_timeout
    front = Front(app, settings, metrics)
    config = uvicorn.Config(
        front,
        http=UploadProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
        backlog=sockets.BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings.timeouts.shutdown_timeout),
    )
    config.load()
    config.ssl = sockets.tls_context(settings.tls)
    beside: list[Callable[[], Awaitable[None]]] = []
    if settings.uploads.sweep_interval and not worker:
        beside.append(partial(_sweep_regularly, app, settings.uploads.sweep_interval))
    server = Server(
        config, on_start=on_start, on_stop=partial(_stop, front), beside=beside, heeds_interrupt=worker is None
    )
    if worker is not None:
        workers.end_with_parent(server)
    server.run(sockets=listeners)
    front.log.flush()


def _stop(front: Front) -> None:
    log.info("stopping: requests may end, a second signal ends them")
    front.stop()


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
