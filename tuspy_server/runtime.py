"""How the engine reaches stores, lockers and hooks of either colour, from a loop or from a thread.

The engine is written once, as coroutines. Its only awaits are the body and this runtime. Under a `LoopCaller`
they suspend: `def` members run in worker threads, `async def` members on the loop. Under an `InlineCaller`
nothing ever suspends, so `run_sync` can drive the same coroutine to its end with a single send: that is the
whole of WSGI, and of a small request that runs in one worker thread.

Every call of a member is shielded from cancellation, here and nowhere else: a member is bounded work, and after
a cancellation the clean-up (write what was gathered, close, release) must still run. anyio's cancellation is
level-triggered, so an unshielded await in a `finally` would raise again and leak the lock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import inspect
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache, partial
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import sniffio

from tuspy_server.composer import Composer
from tuspy_server.errors import NotSupported, StoreFailed, StoreFull
from tuspy_server.hooks.events import Hook
from tuspy_server.interfaces import Lock, StagedWriter, Writer
from tuspy_server.models import HookEvent, HookResult, UploadInfo
from tuspy_server.observability.observer import Observer

T = TypeVar("T")
P = ParamSpec("P")


class Movable(Protocol):
    def move(self, target: int, limit: int, /) -> int: ...


class FlushingWriter(Protocol):
    """The optional `flush` of a Writer."""

    def flush(self) -> int: ...


class KernelWriter(Protocol):
    """The optional pair of a Writer."""

    def fileno(self) -> int: ...
    def moved(self, size: int, /) -> None: ...


class Lane(Enum):
    """Which threads a call may use. Control never waits for the others, or the HEAD that should interrupt a
    stuck writer would queue behind it. The values are thread counts."""

    CONTROL = 16
    BODY = 17  # 16 writers and the one that closes: an Enum merges equal values
    HOOK = 8


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Caller(Protocol):
    """Runs members. `may_wait` is False where a contended lock must not be waited for."""

    @property
    def may_wait(self) -> bool: ...

    async def call(self, lane: Lane, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Any: ...

    async def call_within(self, seconds: float, function: Callable[..., object], *args: object) -> Any:
        """Like `call` on the hook lane, but raises TimeoutError after that many seconds and leaves it behind."""

    async def sleep(self, seconds: float) -> None: ...


class Clock(Protocol):
    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The wall clock in UTC and the monotonic clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    coroutine.close()
    raise RuntimeError("the coroutine suspended: an async member was called where none may be")


def started(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run a coroutine until it suspends; None if it did not, else what is to be awaited for its end."""
    try:
        waiting_for = coroutine.send(None)
    except StopIteration:
        return None
    return _Rest(coroutine, waiting_for)


class _Rest(Awaitable[None]):
    """A coroutine from where it first suspended."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waiting_for: Any) -> None:
        self._coroutine = coroutine
        self._waiting_for = waiting_for

    def __await__(self) -> Generator[Any, Any, None]:
        waiting_for = self._waiting_for
        while True:
            try:
                value = yield waiting_for
            except BaseException as exc:
                step = partial(self._coroutine.throw, exc)
            else:
                step = partial(self._coroutine.send, value)
            try:
                waiting_for = step()
            except StopIteration:
                return


@lru_cache(maxsize=1024)
def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - the attribute itself is wanted, not callability
    )


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling it gives a coroutine, also for bound methods, partials and callable objects."""
    while isinstance(function, partial):
        function = function.func
    return _is_async(getattr(function, "__func__", function))


class LoopCaller:
    """Calls members from an event loop (asyncio or trio)."""

    may_wait = True

    def __init__(self) -> None:
        self._limiters: anyio.lowlevel.RunVar[dict[Lane, anyio.CapacityLimiter]] = anyio.lowlevel.RunVar("tus lanes")

    def limiter(self, lane: Lane) -> anyio.CapacityLimiter:
        """The lane's limiter of the running loop; none is shared with the host app."""
        try:
            return self._limiters.get()[lane]
        except LookupError:
            self._limiters.set({each: anyio.CapacityLimiter(each.value) for each in Lane})
            return self._limiters.get()[lane]

    async def call(self, lane: Lane, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Any:
        with anyio.CancelScope(shield=True):
            if is_async(function):
                return await cast(Awaitable[Any], function(*args, **kwargs))
            work = partial(function, *args, **kwargs)
            result: Any = await anyio.to_thread.run_sync(work, limiter=self.limiter(lane))
            return await result if hasattr(result, "__await__") else result

    async def call_within(self, seconds: float, function: Callable[..., object], *args: object) -> Any:
        with anyio.CancelScope(shield=True), anyio.fail_after(seconds):
            if is_async(function):
                return await cast(Awaitable[Any], function(*args))
            work = partial(function, *args)
            result: Any = await anyio.to_thread.run_sync(work, limiter=self.limiter(Lane.HOOK), abandon_on_cancel=True)
            return await result if hasattr(result, "__await__") else result

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def thread_safe_call() -> Callable[[Callable[[], object]], None]:
    """A function that runs another on the loop this is called on, from any thread; nothing once the loop is gone."""
    call_soon: Callable[[Callable[[], object]], object]
    if sniffio.current_async_library() == "trio":
        import trio

        call_soon = trio.lowlevel.current_trio_token().run_sync_soon
    else:
        call_soon = asyncio.get_running_loop().call_soon_threadsafe

    def call(function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):
            call_soon(function)

    return call


class InlineCaller:
    """Calls members in the thread it is used in; async ones through a portal to a loop in another thread.

    With `may_wait` False (a request that runs in one worker thread of a loop) a contended lock is reported
    instead of waited for: the thread must not be held by a waiting client.
    """

    def __init__(self, *, may_wait: bool = True) -> None:
        self.may_wait = may_wait
        self._portals = anyio.from_thread.BlockingPortalProvider()
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._hook_threads: concurrent.futures.ThreadPoolExecutor | None = None

    async def call(self, lane: Lane, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Any:
        result: Any = function(*args, **kwargs)
        return self._settle(result) if hasattr(result, "__await__") else result

    async def call_within(self, seconds: float, function: Callable[..., object], *args: object) -> Any:
        if self._hook_threads is None:
            self._hook_threads = concurrent.futures.ThreadPoolExecutor(Lane.HOOK.value, "tus-hook")
        return self._hook_threads.submit(self._run, function, *args).result(seconds)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this coroutine is driven by run_sync, no loop waits

    def _run(self, function: Callable[..., object], *args: object) -> Any:
        result: Any = function(*args)
        return self._settle(result) if hasattr(result, "__await__") else result

    def _settle(self, awaitable: Awaitable[T]) -> T:
        if self._portal is None:
            self._portal = self._portals.__enter__()
        return self._portal.call(_wait_for, awaitable)


async def _wait_for(awaitable: Awaitable[T]) -> T:
    return await awaitable


class Runtime:
    """Typed faces over one composer's members, for one kind of caller. `observer` is told what happens to uploads."""

    def __init__(
        self, composer: Composer, caller: Caller, clock: Clock | None = None, observer: Observer | None = None
    ) -> None:
        self.composer = composer
        self.caller = caller
        self.clock = clock or SystemClock()
        self.observer = observer

    def now(self) -> datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.monotonic()

    @property
    def may_wait(self) -> bool:
        return self.caller.may_wait

    async def sleep(self, seconds: float) -> None:
        await self.caller.sleep(seconds)

    async def create(self, info: UploadInfo) -> UploadInfo:
        return cast(UploadInfo, await self.caller.call(Lane.CONTROL, self.composer.store.create, info))

    async def get(self, upload_id: str) -> UploadInfo:
        return cast(UploadInfo, await self.caller.call(Lane.CONTROL, self.composer.store.get, upload_id))

    async def update(self, info: UploadInfo) -> UploadInfo:
        return cast(UploadInfo, await self.caller.call(Lane.CONTROL, self.composer.store.update, info))

    async def open(self, info: UploadInfo, fence: int | None) -> Writer:
        return cast(Writer, await self.caller.call(Lane.BODY, self.composer.store.open, info, fence=fence))

    async def stage(self, info: UploadInfo, fence: int | None) -> StagedWriter:
        stager = _present(self.composer.stager)
        return cast(StagedWriter, await self.caller.call(Lane.BODY, stager.stage, info, fence=fence))

    async def finish(self, info: UploadInfo) -> None:
        await self.caller.call(Lane.BODY, self.composer.store.finish, info)

    async def terminate(self, info: UploadInfo) -> None:
        await self.caller.call(Lane.CONTROL, _present(self.composer.terminater).terminate, info)

    async def concat(self, info: UploadInfo, parts: Sequence[UploadInfo]) -> UploadInfo:
        concater = _present(self.composer.concater)
        return cast(UploadInfo, await self.caller.call(Lane.BODY, concater.concat, info, parts))

    async def declare_length(self, info: UploadInfo, length: int) -> UploadInfo:
        deferrer = _present(self.composer.length_deferrer)
        return cast(UploadInfo, await self.caller.call(Lane.CONTROL, deferrer.declare_length, info, length))

    async def write(self, writer: Writer, chunks: Sequence[bytes], hashers: Sequence[Hasher] = ()) -> None:
        """One batch in one hop, hashed on the way: hashing is work that must not block a loop either."""
        if hashers:
            await self.caller.call(Lane.BODY, _hash_and_write, writer, chunks, hashers)
        else:
            await self.caller.call(Lane.BODY, writer.write, chunks)

    async def move(self, writer: Writer, source: Movable, limit: int) -> int:
        """Let the kernel move up to `limit` bytes from a body into the writer's file; how many it was."""
        return cast(int, await self.caller.call(Lane.BODY, _move, cast(KernelWriter, writer), source, limit))

    async def close(self, writer: Writer) -> int:
        return cast(int, await self.caller.call(Lane.BODY, writer.close))

    async def discard(self, writer: StagedWriter) -> None:
        await self.caller.call(Lane.BODY, writer.discard)

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

    async def flush(self, writer: Writer) -> int:
        """Make what was written durable; the offset up to which it is. For writers that have a `flush`."""
        return cast(int, await self.caller.call(Lane.BODY, cast(FlushingWriter, writer).flush))

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

    async def request_release(self, upload_id: str) -> None:
        await self.caller.call(Lane.CONTROL, self.composer.locker.request_release, upload_id)

    async def release(self, lock: Lock) -> None:
        await self.caller.call(Lane.CONTROL, lock.release)

    async def ask(self, function: Callable[..., object], *args: object) -> Any:
        """Run the app's own code on the hook lane: a `pre_` hook, or a callable of the configuration."""
        return await self.caller.call(Lane.HOOK, function, *args)

    async def inform(self, hook: Hook, event: HookEvent, seconds: float) -> HookResult | None:
        """Run a `post_` hook; raises TimeoutError after that many seconds."""
        return cast("HookResult | None", await self.caller.call_within(seconds, hook, event))


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
