"""The ASGI app: how bytes arrive and answers leave under asyncio and trio.

A body is read by a task of its own, which alone calls `receive()` and is never cancelled for a timer: a
cancelled `receive()` may lose a message. It gathers up to `BATCH` bytes and then waits, so memory stays bounded
and the client feels it; the engine takes a batch when it is full, old enough, or the last.

A small request to blocking members runs as a whole in one worker thread (`run_sync`), or right on the loop if it is
brief, however large the upload (`Effort`), and the store has lately been fast (`Gauge`).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Sequence
from functools import partial

import anyio
import anyio.to_thread

from tuspy_server.asgi.body import StreamedBody
from tuspy_server.asgi.connection import Connection, Message, Receive, Scope, Send
from tuspy_server.callers import InlineCaller, Lane, LoopCaller, run_sync
from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine import EMPTY_BODY, Begun, Buffered, Reply, WouldWait
from tuspy_server.engine.exchange import Interim
from tuspy_server.engine.sweeping import Swept, sweep
from tuspy_server.errors import ShuttingDown
from tuspy_server.gauge import Gauge
from tuspy_server.hooks.events import Hooks
from tuspy_server.interfaces import DataStore
from tuspy_server.models import Headers, Request
from tuspy_server.observability.observer import Observer
from tuspy_server.observability.watched import Watched
from tuspy_server.protocol.resolve import below_root
from tuspy_server.protocol.rules import Effort
from tuspy_server.runtime import Runtime
from tuspy_server.servers.allocator import keep_freed_memory
from tuspy_server.servers.spooling import Adviser

__all__ = ["ASGIApp", "Message", "Receive", "Scope", "Send"]

SMALL_BODY = 64 << 10


class ASGIApp(Watched):
    """Serves uploads of a store (or a Composer) as an ASGI app; mount it anywhere or run it bare.

    `observers` measure it, see tuspy_server.observability.
    """

    def __init__(
        self,
        store: DataStore | Composer,
        config: Config | None = None,
        *,
        hooks: Hooks | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.config = config or Config()
        self.composer = Composer.of(store)
        self._watch(self.composer, self.config, hooks, observers)
        self._caller = LoopCaller()
        self._runtime = self._observed(Runtime(self.composer, self._caller))
        self._inline = self._observed(Runtime(self.composer, InlineCaller(may_wait=False)))
        self._gauge = Gauge()
        keep_freed_memory()
        _import_early()
        self._running: set[StreamedBody] = set()
        self._stopping = False
        self._adviser = Adviser()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"tuspy_server answers http, not {scope['type']}")
        self.composer.claim()
        self._adviser.look_at_asgi(receive)
        request = _request(scope, receive)
        raw_path: bytes | None = scope.get("raw_path")
        begun = self.engine.begin(request, raw_path=None if raw_path is None else raw_path.decode("latin-1"))
        await self._serve(begun, Connection(scope, receive, send))

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

    async def _serve(self, begun: Begun, connection: Connection) -> None:
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

    async def _run_streamed(self, begun: Begun, connection: Connection) -> tuple[Reply, bool]:
        replies: list[Reply] = []
        async with anyio.create_task_group() as tasks:
            source = connection.source(begun.call.content.size) if self.config.kernel_moves else None
            body = StreamedBody(connection, tasks, self.config.network_timeout, source)
            self._running.add(body)
            try:
                if self._stopping:
                    body.interrupt(ShuttingDown())
                interim = self._interim(connection)
                replies.append(await self.engine.carry_out(begun, body, self._runtime, interim))
            finally:
                self._running.discard(body)
            tasks.cancel_scope.cancel()
        return replies[0], connection.ended

    def _interim(self, connection: Connection) -> Interim | None:
        return connection.interim() if self.config.interim_responses else None

    async def _run_small(self, begun: Begun, body: Buffered) -> Reply:
        """A request that is wholly in memory: in one go if every member blocks, on the loop otherwise."""
        effort = self.engine.effort(begun)
        if self.engine.is_blocking and effort is not Effort.COPYING:
            chunks = body.peek()
            try:
                if effort is Effort.BRIEF and self._gauge.is_fast and self.composer.is_local:
                    return self._gauge.run(partial(self._run_inline, begun, body))
                lane = Lane.BODY if chunks else Lane.CONTROL
                with anyio.CancelScope(shield=True):
                    work = partial(self._run_inline, begun, body)
                    return await anyio.to_thread.run_sync(work, limiter=self._caller.limiter(lane))
            except WouldWait:
                body = Buffered(chunks, cut=body.cut)
        return await self.engine.carry_out(begun, body, self._runtime)

    def _run_inline(self, begun: Begun, body: Buffered) -> Reply:
        return run_sync(self.engine.carry_out(begun, body, self._inline))

    async def _respond(self, begun: Begun, reply: Reply, connection: Connection, *, unread: bool) -> None:
        try:
            await connection.respond(begun.call.request.method, reply, self._runtime, unread=unread)
        finally:
            if reply.after is not None:
                with anyio.CancelScope(shield=True):
                    await reply.after(self._runtime)


def _import_early() -> None:
    """What the first large body would import otherwise, with the loop standing still for a tenth of a second."""
    with contextlib.suppress(ImportError):  # anyio's own affair where it lies; it finds it by itself, too
        importlib.import_module("anyio._backends._asyncio")
    if sys.platform.startswith("linux"):
        importlib.import_module("tuspy_server.servers.kernel")


def _request(scope: Scope, receive: Receive) -> Request:
    headers: Headers = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
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
