"""The ASGI app: how bytes arrive and answers leave under asyncio and trio.

A body is read by a task of its own, which alone calls `receive()` and is never cancelled for a timer: a
cancelled `receive()` may lose a message. It gathers up to `BATCH` bytes and then waits, so memory stays bounded
and the client feels it; the engine takes a batch when it is full, old enough, or the last.

A small request to blocking members runs as a whole in one worker thread (`run_sync`), or right on the loop while
the store has lately been fast (`Gauge`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import anyio.abc
import anyio.to_thread

from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine import EMPTY_BODY, Begun, Buffered, Download, Engine, Reply, WouldWait
from tuspy_server.engine.exchange import Interim
from tuspy_server.engine.sweeping import Swept, sweep
from tuspy_server.errors import BodyInterrupted, ReadTimeout, ShuttingDown, TusError
from tuspy_server.gauge import Gauge
from tuspy_server.hooks.events import Hooks
from tuspy_server.interfaces import DataStore
from tuspy_server.models import Headers, Request, Response
from tuspy_server.protocol.resolve import below_root
from tuspy_server.runtime import InlineCaller, Lane, LoopCaller, Runtime, run_sync, started, thread_safe_call

if TYPE_CHECKING:
    from tuspy_server.servers.kernel import SocketSource

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

BATCH = 4 << 20  # a hop costs 100 us: at 4 MiB it is lost in the noise, and memory stays at two batches
FLUSH_AFTER = 0.2
SMALL_BODY = 64 << 10
LARGE_BODY = 256 << 10  # from here on taking over the socket pays
LARGEST_MOVE = 16 << 20  # bytes a hop: how long a fast sender may keep a worker thread
DRAIN_SIZE = 16 << 20
DRAIN_TIME = 2.0

log = logging.getLogger("tuspy_server")


class ASGIApp:
    """Serves uploads of a store (or a Composer) as an ASGI app; mount it anywhere or run it bare."""

    def __init__(
        self, store: DataStore | Composer, config: Config | None = None, *, hooks: Hooks | None = None
    ) -> None:
        self.config = config or Config()
        self.composer = Composer.of(store)
        self.engine = Engine(self.composer, self.config, hooks or Hooks())
        self._caller = LoopCaller()
        self._runtime = Runtime(self.composer, self._caller)
        self._inline = Runtime(self.composer, InlineCaller(may_wait=False))
        self._gauge = Gauge()
        self._running: set[StreamedBody] = set()
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"tuspy_server answers http, not {scope['type']}")
        self.composer.claim()
        request = _request(scope, receive)
        raw_path: bytes | None = scope.get("raw_path")
        begun = self.engine.begin(request, raw_path=None if raw_path is None else raw_path.decode("latin-1"))
        await self._serve(begun, _Connection(scope, receive, send))

    def shutdown(self) -> None:
        """Let running uploads keep their bytes and end with 503. From any thread; new bodies are refused."""
        self._stopping = True
        for body in tuple(self._running):
            body.interrupt(ShuttingDown())

    async def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        """Remove what has expired and take up what a crash left at its end; run it every now and then."""
        return await sweep(self.engine, self._runtime, dry_run=dry_run)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                self.shutdown()
                return

    async def _serve(self, begun: Begun, connection: _Connection) -> None:
        announced = begun.call.content
        if begun.error is not None or not announced.present:
            reply = await self._run_small(begun, EMPTY_BODY)
            await self._respond(begun, reply, connection, unread=announced.present)
        elif announced.size is not None and announced.size <= SMALL_BODY and not announced.expects_continue:
            body = await connection.read_small(self.config.network_timeout)
            await self._respond(begun, await self._run_small(begun, body), connection, unread=False)
        else:
            reply, ended = await self._run_streamed(begun, connection)
            await self._respond(begun, reply, connection, unread=not ended)

    async def _run_streamed(self, begun: Begun, connection: _Connection) -> tuple[Reply, bool]:
        async with anyio.create_task_group() as tasks:
            source = connection.source(begun.call.content.size) if self.config.kernel_moves else None
            body = StreamedBody(connection, tasks, self.config.network_timeout, source)
            self._running.add(body)
            try:
                if self._stopping:
                    body.interrupt(ShuttingDown())
                reply = await self.engine.carry_out(begun, body, self._runtime, self._interim(connection))
            finally:
                self._running.discard(body)
            tasks.cancel_scope.cancel()
        return reply, connection.ended

    def _interim(self, connection: _Connection) -> Interim | None:
        return connection.interim() if self.config.interim_responses else None

    async def _run_small(self, begun: Begun, body: Buffered) -> Reply:
        """A request that is wholly in memory: in one go if every member blocks, on the loop otherwise."""
        if self.engine.is_blocking:
            chunks = body.peek()
            try:
                if self._gauge.is_fast and self.composer.is_local:
                    started_at = time.perf_counter()
                    reply = self._run_inline(begun, body)
                    self._gauge.observe(time.perf_counter() - started_at)
                    return reply
                lane = Lane.BODY if chunks else Lane.CONTROL
                with anyio.CancelScope(shield=True):
                    work = partial(self._run_inline, begun, body)
                    return await anyio.to_thread.run_sync(work, limiter=self._caller.limiter(lane))
            except WouldWait:
                body = Buffered(chunks, cut=body.cut)
        return await self.engine.carry_out(begun, body, self._runtime)

    def _run_inline(self, begun: Begun, body: Buffered) -> Reply:
        return run_sync(self.engine.carry_out(begun, body, self._inline))

    async def _respond(self, begun: Begun, reply: Reply, connection: _Connection, *, unread: bool) -> None:
        try:
            await connection.respond(begun.call.request.method, reply, self._runtime, unread=unread)
        finally:
            if reply.after is not None:
                with anyio.CancelScope(shield=True):
                    await reply.after()


class _Connection:
    """One request's `receive` and `send`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.ended = False
        self.lost = False
        self._silence: anyio.CancelScope | None = None

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, None at its end or when the client has gone: then `lost` is set."""
        if self.ended or self.lost:
            return None
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.lost = True
            return _held_back(self._receive)
        self.ended = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def read_small(self, seconds: float) -> Buffered:
        """A whole small body; cut where the client went away or fell silent."""
        chunks: list[bytes] = []
        rest = started(self._read_into(chunks, seconds))
        if rest is not None:  # not there yet: now it is worth a timer
            with anyio.move_on_after(seconds) as self._silence:
                await rest
        return Buffered(chunks, cut=not self.ended)

    async def _read_into(self, chunks: list[bytes], seconds: float) -> None:
        while (chunk := await self.next_chunk()) is not None:
            if chunk:
                chunks.append(chunk)
            if self._silence is not None:
                self._silence.deadline = anyio.current_time() + seconds

    def source(self, size: int | None) -> SocketSource | None:
        """The socket that a large body arrives at, where the kernel can move it to a file."""
        if size is None or size < LARGE_BODY or not sys.platform.startswith("linux"):
            return None
        from tuspy_server.servers.kernel import find

        return find(self._receive, size)

    def interim(self) -> Interim | None:
        """How to send a 104, where the server can."""
        from tuspy_server.servers.interim import find

        return find(self._scope, self._receive, self._send)

    async def respond(self, method: str, reply: Reply, runtime: Runtime, *, unread: bool) -> None:
        response = reply.response
        is_head = method == "HEAD"
        headers = _framed(response, reply.download, is_head=is_head)
        if unread:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        if reply.download is not None and not is_head:
            await self._send_download(reply.download, runtime)
            return
        body = b"" if is_head else response.body
        if unread and not self.lost:
            # The answer first, then what the client is still sending: it reads the one while it sends the other.
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._drain()
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        size = 0
        with anyio.move_on_after(DRAIN_TIME):
            while size < DRAIN_SIZE and (chunk := await self.next_chunk()) is not None:
                size += len(chunk)

    async def _send_download(self, download: Download, runtime: Runtime) -> None:
        path = download.path(runtime.composer.store)
        if path is not None and "http.response.pathsend" in self._scope.get("extensions", ()):
            await runtime.drop(download.rest)
            await self._send({"type": "http.response.pathsend", "path": str(path)})
            return
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cancel_when_lost, tasks.cancel_scope)
                piece: bytes | None = download.first
                while piece is not None:
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                    piece = await runtime.next_piece(download.rest)
                tasks.cancel_scope.cancel()
        finally:
            await runtime.drop(download.rest)
        await self._send({"type": "http.response.body", "body": b""})

    async def _cancel_when_lost(self, scope: anyio.CancelScope) -> None:
        while not self.lost:
            message = await self._receive()
            self.lost = message["type"] == "http.disconnect"
        scope.cancel()


class StreamedBody:
    """A body read by its own task, handed over in batches."""

    def __init__(
        self,
        connection: _Connection,
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


def _held_back(receive: Receive) -> bytes | None:
    """What uvicorn had received and does not hand over once the client has gone; None elsewhere.

    Its `receive` is a method of the request's cycle, whose `body` holds what was not asked for yet. A wrapped
    `receive`, or a uvicorn that changed, gives None, and the client sends those bytes again.
    """
    held = getattr(getattr(receive, "__self__", None), "body", None)
    return bytes(held) if isinstance(held, bytes | bytearray) and held else None


def _request(scope: Scope, receive: Receive) -> Request:
    headers: Headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    host = next((value for name, value in headers if name == "host"), "")
    if not host and scope.get("server"):
        host = ":".join(str(part) for part in scope["server"] if part is not None)
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    query = scope.get("query_string", b"").decode("latin-1")
    scheme = scope.get("scheme", "http")
    client = scope.get("client")
    return Request(
        method=scope["method"],
        url=f"{scheme}://{host}{path}" + (f"?{query}" if query else ""),
        path=below_root(path, root_path, scope.get("app_root_path", "")) if root_path else path,
        headers=headers,
        client=client[0] if client else None,
        http_version=scope.get("http_version", "1.1"),
        native=scope,
        script_name=root_path,
        scheme=scheme,
        host=host,
        peer=_peer(receive) or (client[0] if client else None),
    )


def _peer(receive: Receive) -> str | None:
    """Who is at the other end of uvicorn's connection: in the scope it puts whom a proxy speaks for. None elsewhere."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    address = transport.get_extra_info("peername") if transport is not None else None
    return address[0] if isinstance(address, tuple) else None


def _framed(response: Response, download: Download | None, *, is_head: bool) -> list[tuple[bytes, bytes]]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    bodyless = response.status in (204, 304) or response.status < 200
    if not bodyless and download is None and not any(name == b"content-length" for name, _ in headers):
        size = 0 if is_head else len(response.body)
        headers.append((b"content-length", b"%d" % size))
    return headers
