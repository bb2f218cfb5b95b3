"""One request's `receive` and `send`: pieces in, an answer out, and what is left unread."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from tuspy_server.callers import started
from tuspy_server.engine import Buffered, Download, Reply
from tuspy_server.engine.exchange import Interim
from tuspy_server.models import Response
from tuspy_server.runtime import Runtime

if TYPE_CHECKING:
    from tuspy_server.servers.kernel import SocketSource

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

LARGE_BODY = 256 << 10  # from here on taking over the socket pays
DRAIN_SIZE = 16 << 20
DRAIN_TIME = 2.0


class Connection:
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


def _held_back(receive: Receive) -> bytes | None:
    """What uvicorn or gunicorn had received and does not hand over once the client has gone; None elsewhere.

    uvicorn's `receive` is a method of the request's cycle, whose `body` holds what was not asked for yet; gunicorn's
    one of a receiver with `_chunks`. A wrapped `receive`, or a server that changed, gives None, and the client sends
    those bytes again.
    """
    owner = getattr(receive, "__self__", None)
    held = getattr(owner, "body", None)
    if isinstance(held, bytes | bytearray):
        return bytes(held) or None
    chunks = getattr(owner, "_chunks", None)
    return b"".join(chunks) or None if isinstance(chunks, list | deque) else None


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    return name.lower().encode("latin-1")


def _framed(response: Response, download: Download | None, *, is_head: bool) -> list[tuple[bytes, bytes]]:
    headers = [(_name(name), value.encode("latin-1")) for name, value in response.headers]
    bodyless = response.status in (204, 304) or response.status < 200
    if not bodyless and download is None and b"content-length" not in dict(headers):
        size = 0 if is_head else len(response.body)
        headers.append((b"content-length", b"%d" % size))
    return headers
