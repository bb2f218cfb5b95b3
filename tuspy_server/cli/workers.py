"""Several processes that share a port, and the one that watches over them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Protocol

from tuspy_server.cli import logs
from tuspy_server.cli.metrics import forget_worker
from tuspy_server.cli.settings import Settings
from tuspy_server.servers.uvicorn import STOP_SIGNALS

TICK = 0.2  # seconds between two looks at signals
SPARE = 2.0  # seconds a worker may take beyond its own shutdown timeout
UNFIT = 3  # exit code of a worker that could not start
SHORTEST_LIFE = 1.0  # seconds; a worker that dies sooner is replaced only after a pause of this length

log = logging.getLogger("tuspy_server.server")


class Stoppable(Protocol):
    should_exit: bool


def supervise(settings: Settings, sockets: list[socket.socket], on_start: Callable[[], None]) -> int:
    """Run the workers until a signal. Returns an exit code."""
    return _Supervisor(settings, sockets).run(on_start)


def end_with_parent(server: Stoppable) -> None:
    """Stop the server when the supervisor is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        server.should_exit = True

    threading.Thread(target=watch, name="parent", daemon=True).start()


class _Supervisor:
    """Starts workers, replaces those that die, hands signals on."""

    def __init__(self, settings: Settings, sockets: list[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._workers: dict[int, SpawnProcess] = {}
        self._started: dict[int, float] = {}
        self._signals = 0

    def run(self, on_start: Callable[[], None]) -> int:
        for number in (*STOP_SIGNALS, signal.SIGINT):
            signal.signal(number, self._note)
        for index in range(self._settings.listening.workers):
            self._start(index)
        on_start()
        while not self._signals:
            connection.wait([worker.sentinel for worker in self._workers.values()], TICK)
            if not self._replace_dead():
                self._end_at_once()
                return 1
        return self._stop()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _start(self, index: int) -> None:
        context = multiprocessing.get_context("spawn")
        worker = context.Process(target=work, args=(self._settings, self._sockets, index), name=f"worker {index}")
        worker.start()
        self._workers[index] = worker
        self._started[index] = time.monotonic()

    def _replace_dead(self) -> bool:
        """False when a worker cannot even start, which another try would not change."""
        for index, worker in list(self._workers.items()):
            code = worker.exitcode
            if code is None:
                continue
            if code == UNFIT:
                return False
            if self._signals:
                return True
            forget_worker(self._settings, worker.pid)
            log.warning("worker %d ended with code %d and is replaced", index, code)
            if time.monotonic() - self._started[index] < SHORTEST_LIFE:
                time.sleep(SHORTEST_LIFE)
            self._start(index)
        return True

    def _stop(self) -> int:
        for listener in self._sockets:
            listener.close()
        for worker in self._workers.values():
            worker.terminate()
        deadline = time.monotonic() + self._settings.timeouts.shutdown_timeout + SPARE
        while (running := self._running()) and time.monotonic() < deadline:
            if self._signals > 1:
                self._end_at_once()
                return 1
            connection.wait([worker.sentinel for worker in running], TICK)
        self._end_at_once()
        log.info("stopped")
        return 0

    def _running(self) -> list[SpawnProcess]:
        return [worker for worker in self._workers.values() if worker.exitcode is None]

    def _end_at_once(self) -> None:
        for worker in self._running():
            worker.kill()
        for worker in self._workers.values():
            worker.join()


def work(settings: Settings, sockets: list[socket.socket], index: int) -> None:
    """A worker process, from its start to its end."""
    from tuspy_server.cli.build import make_app
    from tuspy_server.cli.metrics import make_metrics
    from tuspy_server.cli.serve import run
    from tuspy_server.errors import TusError

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure(settings.logs.log_format, verbose=settings.logs.verbose)
    with ExitStack() as until:
        try:
            metrics = make_metrics(settings)
            app = make_app(settings, until, [] if metrics is None else [metrics])
        except (TusError, OSError, ValueError) as exc:
            log.error("worker %d cannot start: %s", index, exc)
            sys.exit(UNFIT)
        fields = {"worker": index, "pid": os.getpid()}
        started = partial(log.info, "worker started", extra={"fields": fields})
        run(app, settings, sockets, started, metrics, worker=index)
