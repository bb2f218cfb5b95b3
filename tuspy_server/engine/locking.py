"""Holding uploads: the only place that waits for a lock."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from tuspy_server.engine.body import Body
from tuspy_server.errors import LockLost, UploadInterrupted, UploadLocked
from tuspy_server.interfaces import Lock

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime


class WouldWait(Exception):
    """Another request holds the upload, and this caller may not wait: redo the request where it may."""


class Locked:
    """`async with Locked(...) as held`: the uploads are this request's until the end of the block.

    Several are taken in sorted order, so that two requests never wait for each other. While another holds one,
    it is asked to let go again and again; waiting sleeps, and holds no thread under a loop. A request to
    release ours interrupts `body`.
    """

    def __init__(self, runtime: Runtime, upload_ids: Iterable[str], body: Body, timeout: float) -> None:
        self._runtime = runtime
        self._upload_ids = sorted(set(upload_ids))
        self._body = body
        self._timeout = timeout
        self._locks: list[Lock] = []
        self._asked = False

    @property
    def fence(self) -> int | None:
        """The fencing token, for a single upload."""
        return self._locks[0].token if self._locks else None

    def check(self) -> None:
        """Raise LockLost once any of the locks was lost: nothing may be written, closed or updated then."""
        if self.lost:
            raise LockLost

    @property
    def lost(self) -> bool:
        """Whether any of the locks was lost."""
        for lock in self._locks:  # noqa: SIM110 - asked several times a request, where a generator costs most of it
            if not lock.alive:
                return True
        return False

    async def __aenter__(self) -> Locked:
        deadline = self._runtime.monotonic() + self._timeout
        try:
            for upload_id in self._upload_ids:
                self._locks.append(await self._acquire(upload_id, deadline))
        except BaseException:
            await self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._release()

    def detach(self) -> Locked:
        """Hand the locks over to the returned object; leaving this block then releases nothing."""
        heir = Locked(self._runtime, (), self._body, self._timeout)
        heir._locks, self._locks = self._locks, []
        return heir

    async def _release(self) -> None:
        while self._locks:
            await self._runtime.release(self._locks.pop())

    async def _acquire(self, upload_id: str, deadline: float) -> Lock:
        lock = await self._try(upload_id)
        if lock is not None:
            return lock
        self._check_wait(deadline)
        observer = self._runtime.observer
        with nullcontext() if observer is None else observer.step("lock", "wait"):
            return await self._wait(upload_id, deadline)

    async def _try(self, upload_id: str) -> Lock | None:
        return await self._runtime.try_lock(upload_id, self._on_release_requested, self._on_lost)

    async def _wait(self, upload_id: str, deadline: float) -> Lock:
        runtime = self._runtime
        while True:
            await runtime.request_release(upload_id)
            await runtime.sleep(runtime.composer.locker.retry_interval)
            lock = await self._try(upload_id)
            if lock is not None:
                return lock
            self._check_wait(deadline)

    def _check_wait(self, deadline: float) -> None:
        """Raise UploadLocked where there is no time left to wait, WouldWait where it must be done elsewhere."""
        if self._runtime.monotonic() >= deadline:
            raise UploadLocked
        if not self._runtime.may_wait:
            raise WouldWait

    def _on_release_requested(self) -> None:
        if not self._asked and self._runtime.observer is not None:
            self._runtime.observer.handed_over()
        self._asked = True
        self._body.interrupt(UploadInterrupted())

    def _on_lost(self) -> None:
        self._body.interrupt(LockLost())


def unlocked(runtime: Runtime, body: Body) -> Locked:
    """Holds nothing: for an upload that nobody else can know yet."""
    return Locked(runtime, (), body, 0)
