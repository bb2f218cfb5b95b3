"""A bounded pool of threads that store pieces."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class PiecePool:
    """At most `size` pieces of one store are on their way at a time, and no more of them wait in memory.

    A slot is taken for a piece that is whole, never for one that a slow client still fills. A forked process
    begins with a pool of its own.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a store needs at least one concurrent upload")
        self._size = size
        self._making = threading.Lock()
        self._made: tuple[int, ThreadPoolExecutor, threading.Semaphore] | None = None

    def submit(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Begin `call` in a thread; blocks while all slots are taken."""
        _, threads, slots = self._pool()
        slots.acquire()
        try:
            future = threads.submit(call, *args, **kwargs)
        except BaseException:
            slots.release()
            raise
        future.add_done_callback(lambda _: slots.release())
        return future

    def _pool(self) -> tuple[int, ThreadPoolExecutor, threading.Semaphore]:
        with self._making:
            if self._made is None or self._made[0] != os.getpid():
                threads = ThreadPoolExecutor(self._size, thread_name_prefix="tuspy-piece")
                self._made = (os.getpid(), threads, threading.Semaphore(self._size))
            return self._made
