"""Bodies that arrive while they are stored: read by a task of their own, or moved by the kernel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from tuspy_server.asgi.connection import Connection
from tuspy_server.callers import thread_safe_call
from tuspy_server.errors import BodyInterrupted, ReadTimeout, TusError

if TYPE_CHECKING:
    from tuspy_server.servers.kernel import SocketSource

BATCH = 4 << 20  # a hop costs 100 us: at 4 MiB it is lost in the noise, and memory stays at two batches
FLUSH_AFTER = 0.2
LARGEST_MOVE = 16 << 20  # bytes a hop: how long a fast sender may keep a worker thread


class StreamedBody:
    """A body read by its own task, handed over in batches."""

    def __init__(
        self,
        connection: Connection,
        tasks: anyio.abc.TaskGroup,
        idle_timeout: float,
        source: SocketSource | None = None,
    ) -> None:
        self._connection = connection
        self._tasks = tasks
        self._idle_timeout = idle_timeout
        self._call_soon = thread_safe_call()
        self._chunks: list[bytes] = []
        self._size = 0
        self._pumping = False
        self._heard = time.monotonic()
        self._reason: TusError | None = None
        self._arrived = anyio.Event()
        self._room = anyio.Event()
        self.movable = None if source is None else MovedBody(self, source)

    async def read(self) -> Sequence[bytes] | None:
        if not self._pumping:
            self._pumping = True
            self._heard = time.monotonic()
            self._tasks.start_soon(self._pump)
        while not self._is_due():
            if not self._chunks:
                self.check_end()
                if self._connection.ended:
                    return None
            await self._wait()
        return self.take()

    def take(self) -> Sequence[bytes]:
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._room.set()
        return chunks

    def interrupt(self, reason: TusError) -> None:
        if self._reason is None:
            self._reason = reason
            self._call_soon(self._wake)

    def _wake(self) -> None:
        self._arrived.set()

    def _is_due(self) -> bool:
        """Whether what has been gathered is to be handed over now."""
        if not self._chunks:
            return False
        over = self._connection.ended or self._connection.lost or self._reason is not None
        return over or self._size >= BATCH or time.monotonic() - self._first >= FLUSH_AFTER

    def check_end(self) -> None:
        if self._reason is not None:
            raise self._reason
        if self._connection.lost:
            raise BodyInterrupted
        if not self._connection.ended and time.monotonic() - self._heard >= self._idle_timeout:
            raise ReadTimeout

    async def _wait(self) -> None:
        """Until a first piece, a full batch or the end is there; at the latest when a timer is due."""
        since, limit = (self._first, FLUSH_AFTER) if self._chunks else (self._heard, self._idle_timeout)
        self._arrived = anyio.Event()
        with anyio.move_on_after(max(0.0, since + limit - time.monotonic())):
            await self._arrived.wait()

    async def wait_for(self, source: SocketSource) -> bool:
        """Until the source has enough to be moved; False if it took too long, or was interrupted."""
        self._arrived = anyio.Event()
        source.watch(self._wake)
        try:
            with anyio.move_on_after(min(FLUSH_AFTER, self._idle_timeout)) as timer:
                await self._arrived.wait()
        finally:
            source.unwatch()
        return not timer.cancelled_caught

    def heard(self, size: int, *, lost: bool) -> None:
        """Note that the kernel moved so many bytes."""
        if size:
            self._heard = time.monotonic()
        self._connection.lost = lost

    def ended(self) -> None:
        self._connection.ended = True

    async def _pump(self) -> None:
        connection = self._connection
        while self._reason is None and (chunk := await connection.next_chunk()) is not None:
            self._heard = time.monotonic()
            if chunk:
                if not self._chunks:
                    self._first = self._heard
                    self._arrived.set()
                self._chunks.append(chunk)
                self._size += len(chunk)
            if self._size >= BATCH:
                self._arrived.set()
                self._room = anyio.Event()
                await self._room.wait()
        self._arrived.set()


class MovedBody:
    """A streamed body whose bytes the kernel moves: the same hand-over, timeout and end as when they are read."""

    def __init__(self, body: StreamedBody, source: SocketSource) -> None:
        self._body = body
        self._source = source

    def begin_moves(self) -> bytes:
        return self._source.begin()

    async def await_bytes(self) -> int:
        body, source = self._body, self._source
        while source.remaining:
            body.check_end()
            if await body.wait_for(source) or source.has_bytes():
                body.check_end()
                return min(source.remaining, LARGEST_MOVE)
        body.ended()
        return 0

    def move(self, target: int, limit: int, /) -> int:
        size, lost = self._source.move(target, limit)
        self._source.remaining -= size
        self._body.heard(size, lost=lost)
        return size

    def end_moves(self) -> None:
        self._source.end()
