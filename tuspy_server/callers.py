"""How members of either colour are called, from a loop or from a thread.

The engine is written once, as coroutines. Under a `LoopCaller` they suspend: `def` members run in worker threads,
`async def` members on the loop. Under an `InlineCaller` nothing ever suspends, so `run_sync` can drive the same
coroutine to its end with a single send: that is the whole of WSGI, and of a small request that runs in one worker
thread.

Every call of a member is shielded from cancellation, here and nowhere else: a member is bounded work, and after
a cancellation the clean-up (write what was gathered, close, release) must still run. anyio's cancellation is
level-triggered, so an unshielded await in a `finally` would raise again and leak the lock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from enum import Enum
from functools import lru_cache, partial
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import sniffio

from tuspy_server.loops import LoopThread

T = TypeVar("T")
P = ParamSpec("P")


class Lane(Enum):
    """Which threads a call may use. Control never waits for the others, or the HEAD that should interrupt a
    stuck writer would queue behind it. The values are thread counts."""

    CONTROL = 16
    BODY = 17  # 16 writers and the one that closes: an Enum merges equal values
    HOOK = 8


class Caller(Protocol):
    """Runs members. `may_wait` is False where a contended lock must not be waited for."""

    @property
    def may_wait(self) -> bool: ...

    async def call(self, lane: Lane, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Any: ...

    async def call_within(self, seconds: float, function: Callable[..., object], *args: object) -> Any:
        """Like `call` on the hook lane, but raises TimeoutError after that many seconds and leaves it behind."""

    async def sleep(self, seconds: float) -> None: ...


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
    """Calls members in the thread it is used in; async ones on a loop in another thread.

    With `may_wait` False (a request that runs in one worker thread of a loop) a contended lock is reported
    instead of waited for: the thread must not be held by a waiting client.
    """

    def __init__(self, *, may_wait: bool = True) -> None:
        self.may_wait = may_wait
        self._starting = threading.Lock()
        self._loop: LoopThread | None = None
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
        with self._starting:
            if self._loop is None or self._loop.pid != os.getpid():
                self._loop = LoopThread("tus-async-members")
            loop = self._loop
        return loop.wait_for(awaitable)
