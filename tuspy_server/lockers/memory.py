"""Mutual exclusion within one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count

from tuspy_server.interfaces import DataStore
from tuspy_server.lockers.worker import start_anew_after_fork


class MemoryLock:
    """An upload held by a request of this process."""

    __slots__ = ("_locker", "_on_release_requested", "_upload_id", "token")

    def __init__(
        self, locker: MemoryLocker, upload_id: str, token: int, on_release_requested: Callable[[], None]
    ) -> None:
        self.token = token
        self._locker = locker
        self._upload_id = upload_id
        self._on_release_requested = on_release_requested

    @property
    def alive(self) -> bool:
        """Whether the lock is still held: it is until `release`, nothing can take it away."""
        return self._locker._held.get(self._upload_id) is self

    def release(self) -> None:
        """Let go. Safe to call twice."""
        with self._locker._mutex:
            if self.alive:
                del self._locker._held[self._upload_id]

    def request_release(self) -> None:
        """Tell the holder that somebody else wants the upload."""
        self._on_release_requested()


class MemoryLocker:
    """Locks for a server that is one process; with several, use a locker that they share.

    Tokens count the acquisitions of this locker. A forked child starts with nothing held.
    """

    retry_interval = 0.005
    is_local = True
    single_process = True

    def __init__(self) -> None:
        self._held: dict[str, MemoryLock] = {}
        self._mutex = threading.Lock()
        self._tokens = count(1)
        start_anew_after_fork(self)

    @classmethod
    def for_store(cls, store: DataStore) -> MemoryLocker:
        """A locker for a composer that was given none."""
        return cls()

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> MemoryLock | None:
        """Take the lock if it is free, else None. `on_lost` is never called."""
        with self._mutex:
            if upload_id in self._held:
                return None
            lock = MemoryLock(self, upload_id, next(self._tokens), on_release_requested)
            self._held[upload_id] = lock
            return lock

    def request_release(self, upload_id: str, /) -> None:
        """Call the holder's `on_release_requested` in this thread; nothing happens if nobody holds it."""
        lock = self._held.get(upload_id)
        if lock is not None:
            lock.request_release()

    def start_anew_in_child(self) -> None:
        """What the parent's threads hold is not the child's, nor is a mutex that one of them had at the fork."""
        self._held = {}
        self._mutex = threading.Lock()
