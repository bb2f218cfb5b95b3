"""What the engine sees of stores, lockers, hooks and the clock: one typed face, whoever calls (`callers`) and
whatever colour they have. The engine's only awaits are the body and this."""

from __future__ import annotations

import errno
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from tuspy_server.callers import Caller, Lane
from tuspy_server.composer import Composer
from tuspy_server.errors import NotSupported, StoreFailed, StoreFull
from tuspy_server.hooks.events import Hook
from tuspy_server.interfaces import Lock, StagedWriter, Writer
from tuspy_server.models import HookEvent, HookResult, UploadInfo
from tuspy_server.observability.observer import Observer

T = TypeVar("T")

Coming: TypeAlias = Coroutine[Any, Any, T]
"""What is to be awaited, once."""


class Movable(Protocol):
    def move(self, target: int, limit: int, /) -> int: ...


class FlushingWriter(Protocol):
    """The optional `flush` of a Writer."""

    def flush(self) -> int: ...


class HoldingWriter(Protocol):
    """The optional `abandon` of a Writer."""

    def abandon(self) -> None: ...


class KernelWriter(Protocol):
    """The optional pair of a Writer."""

    def fileno(self) -> int: ...
    def moved(self, size: int, /) -> None: ...


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Clock(Protocol):
    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The wall clock in UTC and the monotonic clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Runtime:
    """Typed faces over one composer's members, for one kind of caller. `observer` is told what happens to uploads.

    Plain functions that return a coroutine: a coroutine around a coroutine costs as much as a small call.
    """

    def __init__(
        self, composer: Composer, caller: Caller, clock: Clock | None = None, observer: Observer | None = None
    ) -> None:
        self.composer = composer
        self.caller = caller
        self.clock = clock or SystemClock()
        self.now = self.clock.now
        self.monotonic = self.clock.monotonic
        self.observer = observer

    @property
    def may_wait(self) -> bool:
        return self.caller.may_wait

    def sleep(self, seconds: float) -> Coming[None]:
        return self.caller.sleep(seconds)

    def create(self, info: UploadInfo) -> Coming[UploadInfo]:
        return self.caller.call(Lane.CONTROL, self.composer.store.create, info)

    def get(self, upload_id: str) -> Coming[UploadInfo]:
        return self.caller.call(Lane.CONTROL, self.composer.store.get, upload_id)

    def update(self, info: UploadInfo) -> Coming[UploadInfo]:
        return self.caller.call(Lane.CONTROL, self.composer.store.update, info)

    def open(self, info: UploadInfo, fence: int | None) -> Coming[Writer]:
        return self.caller.call(Lane.BODY, self.composer.store.open, info, fence=fence)

    def stage(self, info: UploadInfo, fence: int | None) -> Coming[StagedWriter]:
        stager = _present(self.composer.stager)
        return self.caller.call(Lane.BODY, stager.stage, info, fence=fence)

    def finish(self, info: UploadInfo) -> Coming[None]:
        return self.caller.call(Lane.BODY, self.composer.store.finish, info)

    def terminate(self, info: UploadInfo) -> Coming[None]:
        return self.caller.call(Lane.CONTROL, _present(self.composer.terminater).terminate, info)

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo]) -> Coming[UploadInfo]:
        concater = _present(self.composer.concater)
        return self.caller.call(Lane.BODY, concater.concat, info, parts)

    def declare_length(self, info: UploadInfo, length: int) -> Coming[UploadInfo]:
        deferrer = _present(self.composer.length_deferrer)
        return self.caller.call(Lane.CONTROL, deferrer.declare_length, info, length)

    async def write(self, writer: Writer, chunks: Sequence[bytes], hashers: Sequence[Hasher] = ()) -> None:
        """One batch in one hop, hashed on the way: hashing is work that must not block a loop either."""
        if hashers:
            await self.caller.call(Lane.BODY, _hash_and_write, writer, chunks, hashers)
        else:
            await self.caller.call(Lane.BODY, writer.write, chunks)

    def move(self, writer: Writer, source: Movable, limit: int) -> Coming[int]:
        """Let the kernel move up to `limit` bytes from a body into the writer's file; how many it was."""
        return self.caller.call(Lane.BODY, _move, cast(KernelWriter, writer), source, limit)

    def close(self, writer: Writer) -> Coming[int]:
        return self.caller.call(Lane.BODY, writer.close)

    def discard(self, writer: StagedWriter) -> Coming[None]:
        return self.caller.call(Lane.BODY, writer.discard)

    async def abandon(self, writer: Writer) -> None:
        """Let go of what a writer holds and write nothing; left to its end where it has no `abandon`."""
        if hasattr(writer, "abandon"):
            await self.caller.call(Lane.BODY, cast(HoldingWriter, writer).abandon)

    async def expired(self) -> list[UploadInfo]:
        """What the store lists as expired by now; nothing for a store that cannot."""
        if self.composer.expirer is None:
            return []
        found = self.composer.expirer.expired(self.now())
        if isinstance(found, AsyncIterable):
            return cast("list[UploadInfo]", await self.caller.call(Lane.CONTROL, _listed, found))
        return cast("list[UploadInfo]", await self.caller.call(Lane.CONTROL, list, found))

    async def next_piece(
        self, pieces: Iterator[bytes] | AsyncIterator[bytes], hasher: Hasher | None = None
    ) -> bytes | None:
        """The next piece of a download, None at its end; hashed where it is read."""
        if isinstance(pieces, AsyncIterator):
            piece = cast("bytes | None", await self.caller.call(Lane.BODY, _next_async, pieces))
            if piece is not None and hasher is not None:
                await self.caller.call(Lane.BODY, hasher.update, piece)
            return piece
        return cast("bytes | None", await self.caller.call(Lane.BODY, _next_hashed, pieces, hasher))

    async def redirect(self, info: UploadInfo, headers: Mapping[str, str]) -> str | None:
        """Where else a finished upload can be fetched from; None for nowhere."""
        redirecter = self.composer.redirecter
        if redirecter is None:
            return None
        return cast("str | None", await self.caller.call(Lane.CONTROL, redirecter.redirect, info, headers))

    def flush(self, writer: Writer) -> Coming[int]:
        """Make what was written durable; the offset up to which it is. For writers that have a `flush`."""
        return self.caller.call(Lane.BODY, cast(FlushingWriter, writer).flush)

    async def drop(self, pieces: Iterator[bytes] | AsyncIterator[bytes]) -> None:
        """End a download before, or at, its end; what it holds open is closed."""
        close = getattr(pieces, "aclose", None) or getattr(pieces, "close", None)
        if close is not None:
            await self.caller.call(Lane.CONTROL, close)

    async def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None]
    ) -> Lock | None:
        try_lock = self.composer.locker.try_lock
        found = await self.caller.call(Lane.CONTROL, try_lock, upload_id, on_release_requested, on_lost)
        return cast("Lock | None", found)

    def request_release(self, upload_id: str) -> Coming[None]:
        return self.caller.call(Lane.CONTROL, self.composer.locker.request_release, upload_id)

    def release(self, lock: Lock) -> Coming[None]:
        return self.caller.call(Lane.CONTROL, lock.release)

    def ask(self, function: Callable[..., object], *args: object) -> Coming[Any]:
        """Run the app's own code on the hook lane: a `pre_` hook, or a callable of the configuration."""
        return self.caller.call(Lane.HOOK, function, *args)

    def ask_within(self, seconds: float, hook: Hook, event: HookEvent) -> Coming[HookResult | None]:
        """Run a hook; raises TimeoutError after that many seconds and leaves it behind."""
        return self.caller.call_within(seconds, hook, event)


def _move(writer: KernelWriter, source: Movable, limit: int) -> int:
    target = writer.fileno()
    try:
        size = source.move(target, limit)
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StoreFull if full else StoreFailed)(f"moving a body failed: {exc.strerror}") from exc
    writer.moved(size)
    return size


def _hash_and_write(writer: Writer, chunks: Sequence[bytes], hashers: Sequence[Hasher]) -> object:
    for hasher in hashers:
        for chunk in chunks:
            hasher.update(chunk)
    return writer.write(chunks)


async def _listed(found: AsyncIterable[UploadInfo]) -> list[UploadInfo]:
    return [info async for info in found]


def _next_hashed(pieces: Iterator[bytes], hasher: Hasher | None) -> bytes | None:
    piece = next(pieces, None)
    if piece is not None and hasher is not None:
        hasher.update(piece)
    return piece


async def _next_async(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


def _present(member: T | None) -> T:
    if member is None:
        raise NotSupported
    return member
