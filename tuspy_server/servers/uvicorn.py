"""uvicorn as the command uses it: a protocol class of our own and a server that stops without losing bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 1 << 20  # bytes; a final upload names its parts in one field

_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


# Windows sends SIGBREAK for Ctrl+Break, the one signal that another process can send there.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name)]


class UploadProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it leaves to a proxy: a request's head is bounded in size and in time.

    One timer a connection: it looks again when the head that it finds open would be late, so that a request that
    is quick costs no timer.
    """

    head_timeout = 60.0

    _head_timer: asyncio.TimerHandle | None = None
    _head_late: float | None = None
    _head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_late is not None:
            self._head_size += len(data)
            if self._head_size > LARGEST_HEAD:
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        if self._head_late is None:
            self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_late = None
        self._head_size = 0
        super().on_headers_complete()

    def _begin_head(self) -> None:
        self._head_late = self.loop.time() + self.head_timeout
        if self._head_timer is None:
            self._head_timer = self.loop.call_at(self._head_late, self._look_at_head)

    def _look_at_head(self) -> None:
        self._head_timer = None
        if self._head_late is None:
            return
        if self.loop.time() >= self._head_late:
            self.transport.close()
        else:
            self._head_timer = self.loop.call_at(self._head_late, self._look_at_head)


class Server(uvicorn.Server):
    """Runs until SIGTERM or SIGINT, then lets requests end; a second signal ends the process at once.

    `on_start` is called once, when requests are served and signals heeded; `on_stop` once, before anything is
    closed. `beside` runs on the loop as long as requests are served. With `heeds_interrupt` False SIGINT is
    ignored: a supervisor answers the terminal.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_start: Callable[[], None] = lambda: None,
        on_stop: Callable[[], None],
        beside: Sequence[Callable[[], Awaitable[None]]] = (),
        heeds_interrupt: bool = True,
    ) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._on_stop = on_stop
        self._beside = beside
        self._heeds_interrupt = heeds_interrupt
        self._tasks: list[asyncio.Future[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._tasks = [asyncio.ensure_future(work()) for work in self._beside]
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._tasks:
            task.cancel()
        self._on_stop()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's, raises no signal again afterwards: a graceful stop is a success."""
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        handler = self.handle_exit if self._heeds_interrupt else signal.SIG_IGN
        before[signal.SIGINT] = signal.signal(signal.SIGINT, handler)
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(1)
        self.should_exit = True
