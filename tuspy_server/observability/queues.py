"""What happened to uploads, as something to iterate over: the channels of those who want no hooks."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Self

import anyio

from tuspy_server.callers import thread_safe_call
from tuspy_server.models import HookEvent, Kind
from tuspy_server.observability.observer import Observer

MAXSIZE = 1000


class EventQueue:
    """Events of this process's uploads, for `for` (waits in its thread) and `async for`, until `close`.

    Holds at most `maxsize` of them: when it is full the oldest is dropped and counted in `dropped`, and no request
    ever waits. Each event goes to one taker. A queue that nobody refers to any more is forgotten.
    """

    def __init__(self, maxsize: int = MAXSIZE) -> None:
        if maxsize < 1:
            raise ValueError("a queue has room for at least 1 event")
        self.dropped = 0
        self._maxsize = maxsize
        self._events: deque[HookEvent] = deque()
        self._changed = threading.Condition()
        self._wakers: set[Callable[[], None]] = set()
        self._closed = False

    def put(self, event: HookEvent) -> None:
        """Add an event. From any thread; never waits."""
        with self._changed:
            if self._closed:
                return
            if len(self._events) == self._maxsize:
                self._events.popleft()
                self.dropped += 1
            self._events.append(event)
            self._wake()

    def close(self) -> None:
        """Take nothing more; iterations end after what is in the queue."""
        with self._changed:
            self._closed = True
            self._wake()

    def __len__(self) -> int:
        return len(self._events)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[HookEvent]:
        return self

    def __next__(self) -> HookEvent:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._closed)
            if not self._events:
                raise StopIteration
            return self._events.popleft()

    def __aiter__(self) -> AsyncIterator[HookEvent]:
        return self

    async def __anext__(self) -> HookEvent:
        while True:
            arrived = anyio.Event()
            waker = partial(thread_safe_call(), arrived.set)
            with self._changed:
                if self._events:
                    return self._events.popleft()
                if self._closed:
                    raise StopAsyncIteration
                self._wakers.add(waker)
            try:
                await arrived.wait()
            finally:
                with self._changed:
                    self._wakers.discard(waker)

    def _wake(self) -> None:
        for wake in self._wakers:
            wake()
        self._changed.notify_all()


class Queues(Observer):
    """The queues of one app, by what they tell of."""

    def __init__(self) -> None:
        self._queues: dict[str, weakref.WeakSet[EventQueue]] = {}
        self._lock = threading.Lock()

    def open(self, hook_type: str, maxsize: int) -> EventQueue:
        queue = EventQueue(maxsize)
        with self._lock:
            self._queues.setdefault(hook_type, weakref.WeakSet()).add(queue)
        return queue

    def happened(self, event: HookEvent) -> None:
        if event.type == "post_finish" and event.upload.kind is Kind.PARTIAL:
            return
        with self._lock:
            told = tuple(self._queues.get(event.type, ()))
        for queue in told:
            queue.put(event)
