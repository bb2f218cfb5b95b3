"""The bare servers: the system calls of our file store and file locker in one worker hop, and no protocol.

They are what `python -m tests.benchmarks gate` holds the package against: whatever it costs above them is ours.
Nothing is checked: only a benchmark may talk to them. The directory comes from BENCH_DIRECTORY. The calls are those
that `strace` shows of the package with durability "none"; when the package saves one, it goes here too.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from functools import partial
from typing import Any, Protocol

import anyio.to_thread

BATCH = 4 << 20
_READS = (64 << 10, 1 << 20)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIX = "/files/"
_RECORD = (
    b'{"id": "%s", "length": 16384, "metadata": {"filename": "bench.txt"}, "created": "2026-01-01T00:00:00Z"}'
    + b" " * 200
)
_TYPE = "application/offset+octet-stream"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_directory = os.environ.get("BENCH_DIRECTORY", "")
_locks = -1


def _lock_file() -> int:
    global _locks
    if _locks < 0:
        _locks = os.open(_lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return _locks


def _set_lock(kind: int, upload_id: str) -> None:
    byte = hash(upload_id) & 0x7FFFFFFF
    fcntl.fcntl(_lock_file(), fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))


def _lock_path() -> str:
    return os.path.join(_directory, ".locks")


def _path(upload_id: str) -> str:
    return os.path.join(_directory, upload_id)


def _record(upload_id: str) -> str:
    return _path(upload_id) + ".info"


def create(body: Sequence[bytes], *, locked: bool) -> tuple[str, int]:
    """What one POST does: data file and record made exclusively, then the body appended as by a PATCH."""
    upload_id = os.urandom(16).hex()
    if locked:
        _lock(upload_id)
    data = os.open(_path(upload_id), _NEW, 0o664)
    fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
    record = os.open(_record(upload_id), _NEW, 0o664)
    os.pwrite(record, _RECORD, 0)
    os.close(record)
    os.close(data)
    size = 0
    if body:
        data = _open(upload_id)
        size = os.pwritev(data, body, 0)
        _close(data)
    if locked:
        _set_lock(fcntl.F_UNLCK, upload_id)
    return upload_id, size


def describe(upload_id: str) -> int:
    """What one HEAD does: the record read, the data file's size, the record's age. It takes no lock."""
    record = os.open(_record(upload_id), os.O_RDONLY | os.O_CLOEXEC)
    os.read(record, 65536)
    os.close(record)
    size = os.lstat(_path(upload_id)).st_size
    os.lstat(_record(upload_id))
    return size


class Append:
    """One PATCH: `write` its batches, then `close`. Opens at the first of them."""

    def __init__(self, upload_id: str) -> None:
        self.upload_id = upload_id
        self.data = -1
        self.offset = 0

    def write(self, batch: Sequence[bytes]) -> None:
        if self.data < 0:
            _lock(self.upload_id)
            self.offset = describe(self.upload_id)
            self.data = _open(self.upload_id)
        self.offset += os.pwritev(self.data, batch, self.offset)

    def close(self) -> int:
        _close(self.data)
        _set_lock(fcntl.F_UNLCK, self.upload_id)
        return self.offset

    def write_last(self, batch: Sequence[bytes]) -> int:
        """The last batch and `close` in one hop."""
        if batch or self.data < 0:
            self.write(batch)
        return self.close()


def _lock(upload_id: str) -> None:
    _set_lock(fcntl.F_WRLCK, upload_id)
    os.stat(_lock_path())


def _open(upload_id: str) -> int:
    data = os.open(_path(upload_id), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.fstat(data)
    os.lstat(_record(upload_id))
    return data


def _close(data: int) -> None:
    os.fstat(data)
    fcntl.flock(data, fcntl.LOCK_UN)
    os.close(data)


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """The bare ASGI application."""
    if scope["type"] != "http":
        return await _lifespan(receive, send)
    method: str = scope["method"]
    upload_id: str = scope["path"].removeprefix(_PREFIX)
    if method == "POST":
        upload_id, offset = await anyio.to_thread.run_sync(partial(create, locked=False), await _whole(receive))
        await _answer(send, 201, offset, upload_id)
    elif method == "PATCH":
        await _answer(send, 204, await _append(upload_id, receive))
    else:
        await _answer(send, 200, await anyio.to_thread.run_sync(describe, upload_id))


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _whole(receive: Receive) -> list[bytes]:
    body: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message.get("body"):
            body.append(message["body"])
        more = message.get("more_body", False)
    return body


async def _append(upload_id: str, receive: Receive) -> int:
    append = Append(upload_id)
    batch: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if piece := message.get("body"):
            batch.append(piece)
            size += len(piece)
        more = message.get("more_body", False)
        if more and size >= BATCH:
            await anyio.to_thread.run_sync(append.write, batch)
            batch, size = [], 0
    return await anyio.to_thread.run_sync(append.write_last, batch)


async def _answer(send: Send, status: int, offset: int, upload_id: str = "") -> None:
    headers = [(name.encode(), value.encode()) for name, value in _fields(offset, upload_id)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _fields(offset: int, upload_id: str) -> list[tuple[str, str]]:
    fields = [("Tus-Resumable", "1.0.0"), ("Upload-Offset", str(offset))]
    if upload_id:
        fields += [("Location", _PREFIX + upload_id), ("Content-Length", "0")]
    return fields


class _Input(Protocol):
    def read(self, size: int, /) -> bytes: ...


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The bare WSGI application: reads grow from 64 KiB to 1 MiB as the package's do."""
    method: str = environ["REQUEST_METHOD"]
    upload_id: str = environ["PATH_INFO"].removeprefix(_PREFIX)
    size = int(environ.get("CONTENT_LENGTH") or 0)
    source: _Input = environ["wsgi.input"]
    if method == "POST":
        upload_id, offset = create([source.read(size)] if size else [], locked=True)
        start_response("201 Created", _fields(offset, upload_id))
    elif method == "PATCH":
        start_response("204 No Content", _fields(_append_from(source, size, upload_id), ""))
    else:
        start_response("200 OK", [*_fields(describe(upload_id), ""), ("Content-Length", "0")])
    return [b""]


def _append_from(source: _Input, size: int, upload_id: str) -> int:
    append = Append(upload_id)
    batch: list[bytes] = []
    step, largest = _READS
    waiting = 0
    while size:
        piece = source.read(min(step, size))
        if not piece:
            break
        batch.append(piece)
        waiting += len(piece)
        size -= len(piece)
        step = min(step * 2, largest)
        if waiting >= BATCH:
            append.write(batch)
            batch, waiting = [], 0
    return append.write_last(batch)
