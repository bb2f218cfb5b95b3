"""Any locker of `def` methods in the other colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from anyio.lowlevel import checkpoint

from tuspy_server.interfaces import Lock, Locker


class AsyncLock:
    """A lock whose `release` is `async def` and really suspends."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @property
    def token(self) -> int | None:
        return self._lock.token

    @property
    def alive(self) -> bool:
        return self._lock.alive

    async def release(self) -> None:
        await checkpoint()
        self._lock.release()


class AsyncLocker:
    """Wraps a locker of `def` methods; each call suspends once, then runs inline."""

    def __init__(self, make_locker: Callable[[], Locker]) -> None:
        self._locker = make_locker()
        self.retry_interval: float = self._locker.retry_interval

    async def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> AsyncLock | None:
        await checkpoint()
        lock = cast("Lock | None", self._locker.try_lock(upload_id, on_release_requested, on_lost))
        return None if lock is None else AsyncLock(lock)

    async def request_release(self, upload_id: str, /) -> None:
        await checkpoint()
        self._locker.request_release(upload_id)
