"""The WSGI app: the same engine, driven to its end in the server's own thread.

A read from `wsgi.input` blocks until it is full, and what it holds is lost if the client resets the connection in
the middle. So reads start small and grow while they return at once: the faster the client, the larger the read.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol, cast

from werkzeug.wsgi import get_path_info

from tuspy_server.callers import InlineCaller, run_sync
from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine import EMPTY_BODY, Begun, Download, Reply
from tuspy_server.engine.sweeping import Swept, sweep
from tuspy_server.errors import BodyInterrupted, LengthRequired, ReadTimeout, ShuttingDown, TusError
from tuspy_server.hooks.events import Hooks
from tuspy_server.interfaces import DataStore
from tuspy_server.models import Request, Response
from tuspy_server.observability.observer import Observer
from tuspy_server.observability.watched import Watched
from tuspy_server.protocol.intents import Content
from tuspy_server.runtime import Runtime
from tuspy_server.servers.allocator import keep_freed_memory
from tuspy_server.servers.spooling import Adviser

Environ = dict[str, Any]

SMALLEST_READ = 64 << 10
LARGEST_READ = 1 << 20
PROMPT = 0.05  # seconds; a read that took longer waited for the client
DRAIN_SIZE = 16 << 20
DRAIN_TIME = 2.0
# Servers on which a truncated chunked body raises; elsewhere it may look complete (granian) and is refused.
HONEST_ABOUT_CHUNKS = ("gunicorn", "werkzeug", "cheroot")

log = logging.getLogger("tuspy_server")


class StartResponse(Protocol):
    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> object: ...


class WSGIApp(Watched):
    """Serves uploads of a store (or a Composer) as a WSGI app; mount it anywhere or run it bare.

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
        self._runtime = self._observed(Runtime(self.composer, InlineCaller()))
        keep_freed_memory()
        self._running: set[StreamBody] = set()
        self._stopping = False
        self._adviser = Adviser()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("wsgi.multiprocess") and getattr(self.composer.locker, "single_process", False):
            raise RuntimeError("the locker sees one process only and this server runs several: use FileLocker")
        self.composer.claim()
        self._adviser.look_at_wsgi(environ)
        request = _request(environ)
        begun = self.engine.begin(request, raw_path=environ.get("RAW_URI") or environ.get("REQUEST_URI"))
        announced = begun.call.content
        if begun.error is not None or not announced.present:
            reply = run_sync(self.engine.carry_out(begun, EMPTY_BODY, self._runtime))
            return self._respond(begun, reply, environ, start_response, StreamBody(environ, announced, self.config))
        body = StreamBody(environ, announced, self.config)
        self._running.add(body)
        try:
            if self._stopping:
                body.interrupt(ShuttingDown())
            reply = run_sync(self.engine.carry_out(begun, body, self._runtime))
        finally:
            self._running.discard(body)
        return self._respond(begun, reply, environ, start_response, body)

    def shutdown(self) -> None:
        """Let running uploads keep their bytes and end with 503. From any thread; new bodies are refused."""
        self._stopping = True
        for body in tuple(self._running):
            body.interrupt(ShuttingDown())

    def sweep(self, *, dry_run: bool = False) -> list[Swept]:
        """Remove what has expired and take up what a crash left at its end; run it every now and then."""
        return run_sync(sweep(self.engine, self._runtime, dry_run=dry_run))

    def _respond(
        self, begun: Begun, reply: Reply, environ: Environ, start_response: StartResponse, body: StreamBody
    ) -> Iterable[bytes]:
        response = reply.response
        is_head = begun.call.request.method == "HEAD"
        start_response(_status_line(response.status), _framed(response, reply.download, is_head=is_head))
        pieces: Iterator[bytes]
        if reply.download is None or is_head:
            pieces = _then_drain(b"" if is_head else response.body, body)
        else:
            wrapper = environ.get("wsgi.file_wrapper")
            path = reply.download.path(self.composer.store)
            if wrapper is not None and path is not None:
                run_sync(self._runtime.drop(reply.download.rest))
                return cast(Iterable[bytes], wrapper(open(path, "rb"), LARGEST_READ))
            pieces = self._pieces(reply.download)
        return _Answer(pieces, reply, self._runtime)

    def _pieces(self, download: Download) -> Iterator[bytes]:
        piece: bytes | None = download.first
        try:
            while piece is not None:
                yield piece
                piece = run_sync(self._runtime.next_piece(download.rest))
        finally:
            run_sync(self._runtime.drop(download.rest))


class _Answer:
    """A response's body, which tells the engine when it was sent, or could not be."""

    def __init__(self, pieces: Iterator[bytes], reply: Reply, runtime: Runtime) -> None:
        self._pieces = pieces
        self._reply = reply
        self._runtime = runtime
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._pieces.close()  # type: ignore[attr-defined]  # always a generator
        finally:
            if self._reply.after is not None:
                run_sync(self._reply.after(self._runtime))


class StreamBody:
    """`wsgi.input`, counted against Content-Length: a short body is an interruption, never an end."""

    def __init__(self, environ: Environ, announced: Content, config: Config) -> None:
        self._stream: BinaryIO = environ["wsgi.input"]
        self._left = announced.size
        self._chunked_is_honest = _is_honest_about_chunks(environ)
        self._socket: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        self._idle_timeout = config.network_timeout
        self._step = SMALLEST_READ
        self._reason: TusError | None = None
        self.ended = announced.size == 0
        self._unasked = announced.expects_continue

    async def read(self) -> Sequence[bytes] | None:
        if self.ended:
            return None
        if self._left is None and not self._chunked_is_honest:
            raise LengthRequired
        self._check()
        piece = self._read(self._step if self._left is None else min(self._step, self._left))
        if piece:
            return (piece,)
        self._check()
        if self._left is None:
            self.ended = True
            return None
        raise BodyInterrupted

    def take(self) -> Sequence[bytes]:
        return ()

    def interrupt(self, reason: TusError) -> None:
        self._reason = self._reason or reason
        if self._socket is not None:
            # Wakes a blocked read. The plain method, for an SSL socket's own would tear down the session.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def drain(self) -> None:
        """Read a bounded part of what is left, so that the client can read the answer.

        Not a body that waits for 100 Continue: the server would ask for it now, after the answer.
        """
        if self._unasked:
            return
        deadline = time.monotonic() + DRAIN_TIME
        size = 0
        with contextlib.suppress(TusError):
            while size < DRAIN_SIZE and time.monotonic() < deadline:
                chunks = run_sync(self.read())
                if chunks is None:
                    return
                size += sum(map(len, chunks))

    def _check(self) -> None:
        if self._reason is not None:
            raise self._reason

    def _read(self, size: int) -> bytes:
        self._unasked = False
        started = time.monotonic()
        piece = self._guarded(size)
        if self._left is not None:
            self._left -= len(piece)
            self.ended = self._left == 0
        prompt = time.monotonic() - started < PROMPT
        self._step = min(2 * self._step, LARGEST_READ) if prompt else max(self._step // 2, SMALLEST_READ)
        return piece

    def _guarded(self, size: int) -> bytes:
        """One read; whatever a server raises for a lost client becomes an interruption."""
        previous = self._socket.gettimeout() if self._socket is not None else None
        try:
            if self._socket is not None:
                self._socket.settimeout(self._idle_timeout)
            return self._stream.read(size)
        except Exception as exc:
            self.interrupt(ReadTimeout() if isinstance(exc, TimeoutError) else BodyInterrupted())
            return self._salvage(size)
        finally:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.settimeout(previous)

    def _salvage(self, size: int) -> bytes:
        """What gunicorn holds of a read that failed: with the receiving side shut, a second read returns it."""
        with contextlib.suppress(Exception):
            return self._stream.read(size)
        return b""


def _then_drain(body: bytes, unread: StreamBody) -> Iterator[bytes]:
    """The answer first, then what the client is still sending."""
    yield body
    if not unread.ended:
        unread.drain()


def _is_honest_about_chunks(environ: Environ) -> bool:
    software = str(environ.get("SERVER_SOFTWARE", "")).lower()
    return bool(environ.get("wsgi.input_terminated")) and software.startswith(HONEST_ABOUT_CHUNKS)


def _request(environ: Environ) -> Request:
    headers = [
        (key[5:].replace("_", "-").lower(), str(value)) for key, value in environ.items() if key.startswith("HTTP_")
    ]
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers.append((key.replace("_", "-").lower(), environ[key]))
    scheme = environ.get("wsgi.url_scheme", "http")
    host = environ.get("HTTP_HOST") or f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
    script_name = environ.get("SCRIPT_NAME", "").encode("latin-1").decode("utf-8", "replace")
    path = get_path_info(environ)
    query = environ.get("QUERY_STRING", "")
    return Request(
        method=environ["REQUEST_METHOD"],
        url=f"{scheme}://{host}{script_name}{path}" + (f"?{query}" if query else ""),
        path=path,
        headers=tuple(headers),
        client=environ.get("REMOTE_ADDR"),
        http_version=environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        native=environ,
        script_name=script_name,
        scheme=scheme,
        host=host,
        peer=environ.get("REMOTE_ADDR"),
    )


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} {_PHRASES.get(status, 'Unknown')}"


_PHRASES = {460: "Checksum Mismatch"}


def _framed(response: Response, download: Download | None, *, is_head: bool) -> list[tuple[str, str]]:
    headers = list(response.headers)
    bodyless = response.status in (204, 304) or response.status < 200
    if not bodyless and download is None and not any(name.lower() == "content-length" for name, _ in headers):
        headers.append(("Content-Length", "0" if is_head else str(len(response.body))))
    return headers
