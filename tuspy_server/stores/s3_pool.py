"""Where parts are uploaded: a bounded pool of threads with one budget of memory for the whole process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


class PartPool:
    """Runs uploads of full parts, `threads` at once; `memory` bounds the bytes of all parts handed over and not
    yet uploaded.

    Only full parts are handed over, so whoever waits here waits for uploads that go on, never for a client.
    Threads are started on first use and once per process, since they do not survive a fork.
    """

    def __init__(self, threads: int, memory: int) -> None:
        self.threads = threads
        self._memory = memory
        self._held = 0
        self._change = Condition()
        self._executor: tuple[int, ThreadPoolExecutor] | None = None

    def submit(self, size: int, task: Callable[[], None]) -> None:
        """Run `task`, which holds `size` bytes and does not raise, soon; blocks while the process holds too many.

        A single part larger than the whole budget goes alone.
        """
        with self._change:
            executor = self._of_this_process()
            self._change.wait_for(lambda: self._held == 0 or self._held + size <= self._memory)
            self._held += size
        try:
            executor.submit(task).add_done_callback(lambda _: self._free(size))
        except BaseException:
            self._free(size)
            raise

    def _free(self, size: int) -> None:
        with self._change:
            self._held -= size
            self._change.notify_all()

    def _of_this_process(self) -> ThreadPoolExecutor:
        if self._executor is None or self._executor[0] != os.getpid():
            self._held = 0
            self._executor = (os.getpid(), ThreadPoolExecutor(self.threads, thread_name_prefix="tuspy-s3-part"))
        return self._executor[1]


class ControlPool:
    """A few threads for small requests that are made at the same time; never waits for uploads of parts."""

    def __init__(self, threads: int = 8) -> None:
        self._threads = threads
        self._executor: tuple[int, ThreadPoolExecutor] | None = None

    def both(self, one: Callable[[], T], other: Callable[[], S]) -> tuple[T, S]:
        """What both return, called at the same time. Raises what `one` raises, else what `other` raises."""
        future = self._of_this_process().submit(other)
        try:
            found = one()
        except BaseException:
            future.cancel()
            raise
        return found, future.result()

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """`function` of every item, in order."""
        return list(self._of_this_process().map(function, items))

    def _of_this_process(self) -> ThreadPoolExecutor:
        if self._executor is None or self._executor[0] != os.getpid():
            self._executor = (os.getpid(), ThreadPoolExecutor(self._threads, thread_name_prefix="tuspy-s3"))
        return self._executor[1]


class Flight:
    """The parts of one upload that are under way: at most `most` of them, and none started after one failed.

    `failure` is the first one's error, None while all went well.
    """

    def __init__(self, pool: PartPool, most: int) -> None:
        self._pool = pool
        self._most = most
        self._change = Condition()
        self._flying = 0
        self.failure: Exception | None = None

    def wait_for_room(self) -> None:
        """Return once another part may start."""
        with self._change:
            self._change.wait_for(lambda: self._flying < self._most)

    def launch(self, size: int, task: Callable[[], None]) -> None:
        """Start `task` once there is room for it; nothing after a failure."""
        with self._change:
            self.wait_for_room()
            if self.failure is not None:
                return
            self._flying += 1
        try:
            self._pool.submit(size, lambda: self._run(task))
        except BaseException:
            self._land(None)
            raise

    def wait(self) -> None:
        """Return once nothing is under way any more."""
        with self._change:
            self._change.wait_for(lambda: self._flying == 0)

    def _run(self, task: Callable[[], None]) -> None:
        failure: Exception | None = None
        try:
            if self.failure is None:
                task()
        except Exception as exc:
            failure = exc
        finally:
            self._land(failure)

    def _land(self, failure: Exception | None) -> None:
        with self._change:
            self._flying -= 1
            self.failure = self.failure or failure
            self._change.notify_all()
