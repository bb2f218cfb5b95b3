"""An event loop in a thread of its own, for callers that have none (WSGI, hooks called from worker threads)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class LoopThread:
    """The loop runs until `stop`, or until nobody refers to this object any more.

    A daemon thread, so that a process may just end. `pid` is the process it runs in: a process that was forked
    from it has the object but not the thread, and needs one of its own.
    """

    def __init__(self, name: str) -> None:
        self.pid = os.getpid()
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=_run, args=(loop,), name=name, daemon=True)
        self._thread.start()
        # A collector may drop the last reference in any thread, in this one too: it can ask for the end, not wait.
        weakref.finalize(self, _ask_to_end, loop).atexit = False

    def wait_for(self, awaitable: Awaitable[T]) -> T:
        """What it results in, run on the loop while this thread waits."""
        return asyncio.run_coroutine_threadsafe(_wait_for(awaitable), self._loop).result()

    def stop(self) -> None:
        """End the loop and its half-read async generators. Not to be called on the loop."""
        _ask_to_end(self._loop)
        self._thread.join()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _ask_to_end(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(loop.stop)


async def _wait_for(awaitable: Awaitable[T]) -> T:
    return await awaitable
