"""Locks that are leases: what the lockers on Redis, etcd and the like have in common.

A lease is taken for some seconds and renewed at a third of them by one background thread per locker and
process. Its holder counts the seconds from before it asked, on a clock that neither jumps nor sleeps with
the machine, and takes off one per cent for clocks of different speed; so it always stops before the service
gives the lock to somebody else. When they are over, or the service says that the lock is not ours any more,
`alive` is False and `on_lost` is called at once. What a process leaves behind when it dies is free when the
lease ends.

While the service is out of reach nothing new is locked (LockerUnavailable), running locks last as long as
their lease, and everything goes on by itself when it is back.
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, islice
from typing import Protocol

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.worker import Worker, call_each, start_anew_after_fork

_log = logging.getLogger("tuspy_server")

_DRIFT = 0.01
_EXPIRY_INTERVAL = 1.0
_RETRY_PAUSE = 0.5
_NETWORK_TIMEOUT = 2.0
_FORSAKEN_LIMIT = 10_000
_FORSAKEN_BATCH = 50

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,127}")

# CLOCK_MONOTONIC stands still while a machine is suspended; the lease does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds on a clock that never jumps and counts while the machine is suspended, where there is one."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


def network_timeout(lease: float) -> float:
    """Seconds that one call to a service may take, so that some fit into the time between renewal and end."""
    return min(_NETWORK_TIMEOUT, lease / 5)


def lock_name(upload_id: str) -> str:
    """The id itself if it is one that uploads have, otherwise a digest of it: short ASCII without separators."""
    if _PLAIN_ID.fullmatch(upload_id):
        return upload_id
    return "~" + sha256(upload_id.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Grant:
    """A lock that a service gave. `since` is when its lease began on `now()`; None: before it was asked for."""

    token: int | None
    since: float | None = None


class LeaseService(Protocol):
    """What a lock service must be able to do. `owner` names one acquisition, in all the world and for all time.

    It begins with the name of the process and a hyphen. Every method may be called from any thread, may take
    as long as its network timeout, and raises LockerUnavailable when the service is out of reach.
    """

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        """Take the lock for `lease` seconds if it is free, or if `owner` has it already; else None."""

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        """Extend locks, given as owner and upload, to `lease` seconds from now. False for an owner that has lost its
        lock; one that is missing from the answer is tried again."""
        ...

    def release(self, upload_id: str, owner: str, /) -> None:
        """Free the lock if `owner` has it."""

    def request(self, upload_id: str, /) -> None:
        """Let whoever holds the lock know that it is wanted."""

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        """Owners of this process whose locks are wanted. Waits for some, though not for ever. `held` tells what the
        process holds at the moment."""
        ...

    def forget(self) -> None:
        """Drop connections without a word to the other side: they are the parent's in a forked child, and nobody's
        when the locker is closed."""


class LeasedLock:
    """An upload held by a request of this process, until its lease ends."""

    __slots__ = ("_locker", "deadline", "on_lost", "on_release_requested", "owner", "renew_at", "token", "upload_id")

    def __init__(
        self,
        locker: LeasedLocker,
        upload_id: str,
        owner: str,
        token: int | None,
        on_release_requested: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._locker = locker
        self.upload_id = upload_id
        self.owner = owner
        self.token = token
        self.on_release_requested = on_release_requested
        self.on_lost = on_lost
        self.deadline = 0.0
        self.renew_at = 0.0

    @property
    def alive(self) -> bool:
        """Whether the lock is still held. Looks at the clock: true to the moment also in a process that was paused."""
        return self._locker._held.get(self.owner) is self and now() < self.deadline

    def extend(self, since: float, lease: float) -> None:
        """The service granted `lease` seconds, asked for at `since`."""
        self.deadline = max(self.deadline, since + lease * (1 - _DRIFT))
        self.renew_at = since + lease / 3 * random.uniform(0.8, 1.0)

    def release(self) -> None:
        """Let go. Safe to call twice and after the lock was lost. Where the service is out of reach, the lock is
        freed in the background once it is back, or by the end of the lease."""
        self._locker._release(self)


class LeasedLocker:
    """A locker on a lock service. Use one of its subclasses.

    `lease` in seconds: how long an upload stays locked after its server died, and how long a running request
    outlives an outage of the service at most. `retry_interval` in seconds.
    """

    listening_limit = 2.0  # seconds that `close` may wait for the listening thread

    _held: dict[str, LeasedLock]
    _by_upload: dict[str, LeasedLock]
    _forsaken: dict[str, str]

    def __init__(self, service: LeaseService, *, lease: float, retry_interval: float) -> None:
        if not lease >= 1:
            raise ValueError("lease is seconds and must be at least 1")
        if not retry_interval > 0:
            raise ValueError("retry_interval is seconds and must be greater than 0")
        self.lease = lease
        self.retry_interval = retry_interval
        self._service = service
        self._start_anew()
        start_anew_after_fork(self)

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> LeasedLock | None:
        """Take the lock if it is free, else None. Raises LockerUnavailable if the service is out of reach."""
        if self._live(upload_id) is not None:
            return None
        owner = f"{self._process}-{next(self._numbers)}"
        asked_at = now()
        try:
            grant = self._service.acquire(upload_id, owner, self.lease)
            if grant is None:
                return None
            lock = LeasedLock(self, upload_id, owner, grant.token, on_release_requested, on_lost)
            lock.extend(asked_at if grant.since is None else grant.since, self.lease)
            self._hold(lock)
        except LockerUnavailable:
            # The service may have given us the lock all the same, and nobody would renew or release it.
            self._forsake(upload_id, owner)
            raise
        except RuntimeError as exc:  # no thread can be started
            self._forsake(upload_id, owner)
            raise LockerUnavailable from exc
        if lock.alive:
            return lock
        self._release(lock)
        return None

    def request_release(self, upload_id: str, /) -> None:
        """Ask the holder to let go, on whatever host; nothing happens if nobody holds it."""
        lock = self._live(upload_id)
        if lock is None:
            self._service.request(upload_id)
        else:
            lock.on_release_requested()

    def close(self) -> None:
        """Stop renewing and listening, and close connections. What is still held is free when its lease ends.

        Waits for the listening thread as long as it may wait for wishes, where that is a second or so.
        """
        listener = self._listener
        self._start_anew()
        listener.stop(self.listening_limit)
        self._service.forget()

    def start_anew_in_child(self) -> None:
        """What the parent holds stays its own, and so do its connections."""
        self._service.forget()
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = secrets.token_hex(8)
        self._numbers = count(1)
        self._mutex = threading.Lock()
        self._held = {}
        self._by_upload = {}
        self._forsaken = {}
        self._reachable = True
        self._renewer = Worker("tus-locker-renew", self._renew)
        self._watchdog = Worker("tus-locker-expire", self._expire)
        self._listener = Worker("tus-locker-listen", self._listen)

    def _live(self, upload_id: str) -> LeasedLock | None:
        lock = self._by_upload.get(upload_id)
        return lock if lock is not None and lock.alive else None

    def _hold(self, lock: LeasedLock) -> None:
        with self._mutex:
            self._held[lock.owner] = lock
            self._by_upload[lock.upload_id] = lock
        try:
            for worker in (self._renewer, self._watchdog, self._listener):
                worker.wake()
        except RuntimeError:
            self._drop(lock)
            raise

    def _drop(self, lock: LeasedLock) -> bool:
        """Hold it no longer; False if that was so already."""
        with self._mutex:
            if self._held.pop(lock.owner, None) is None:
                return False
            if self._by_upload.get(lock.upload_id) is lock:
                del self._by_upload[lock.upload_id]
            return True

    def _release(self, lock: LeasedLock) -> None:
        if not self._drop(lock):
            return
        try:
            self._service.release(lock.upload_id, lock.owner)
        except LockerUnavailable:
            self._forsake(lock.upload_id, lock.owner)

    def _forsake(self, upload_id: str, owner: str) -> None:
        """Free in the background what the service may believe to be ours."""
        with self._mutex:
            if len(self._forsaken) >= _FORSAKEN_LIMIT:
                del self._forsaken[next(iter(self._forsaken))]
            self._forsaken[owner] = upload_id
        with suppress(RuntimeError):
            self._renewer.wake()

    def _lose(self, locks: Iterable[LeasedLock]) -> None:
        call_each(lock.on_lost for lock in locks if self._drop(lock))

    def _locks(self) -> list[LeasedLock]:
        with self._mutex:
            return list(self._held.values())

    def _owned(self) -> dict[str, str]:
        return {lock.owner: lock.upload_id for lock in self._locks()}

    def _renew(self) -> float | None:
        """Renew what is due; seconds until the next is, None if nothing is held."""
        locks = self._locks()
        if not locks and not self._forsaken:
            return None
        started = now()
        due = {lock.owner: lock.upload_id for lock in locks if lock.renew_at <= started + self.lease / 20}
        try:
            answers = self._service.renew(due, self.lease) if due else {}
            self._free_forsaken()
        except LockerUnavailable as exc:
            self._note_outage(exc)
            return min(_RETRY_PAUSE, self.lease / 20) * random.uniform(0.5, 1.0)
        self._reachable = True
        for lock in locks:
            if answers.get(lock.owner, False):
                lock.extend(started, self.lease)
        self._lose(lock for lock in locks if answers.get(lock.owner, True) is False)
        if self._forsaken:
            return 0.0
        pauses = [lock.renew_at - now() for lock in self._locks()]
        return max(min([*pauses, self.lease / 3]), 0.05)

    def _free_forsaken(self) -> None:
        with self._mutex:
            some = list(islice(self._forsaken.items(), _FORSAKEN_BATCH))
        for owner, upload_id in some:
            self._service.release(upload_id, owner)
            self._forsaken.pop(owner, None)

    def _note_outage(self, exc: LockerUnavailable) -> None:
        if self._reachable:
            self._reachable = False
            _log.warning("the lock service is out of reach: %s", exc.__cause__ or exc)

    def _expire(self) -> float | None:
        """Give up what has run out; seconds until the next may, None if nothing is held."""
        locks = self._locks()
        if not locks:
            return None
        ended = [lock for lock in locks if now() >= lock.deadline]
        self._lose(ended)
        for lock in ended:
            self._forsake(lock.upload_id, lock.owner)
        return max(0.0, min(_EXPIRY_INTERVAL, min(lock.deadline for lock in locks) - now()))

    def _listen(self) -> float | None:
        """Pass on wishes for what is held, as they come; None if nothing is held."""
        if not self._held:
            return None
        try:
            wanted = [self._held.get(owner) for owner in self._service.wishes(self._process, self._owned)]
        except LockerUnavailable as exc:
            self._note_outage(exc)
            # A service that has restarted may have forgotten our locks: find out now rather than when they are due.
            for lock in self._locks():
                lock.renew_at = 0.0
            self._renewer.hurry()
            return _RETRY_PAUSE * random.uniform(0.5, 1.0)
        call_each(lock.on_release_requested for lock in wanted if lock is not None)
        return 0.0
