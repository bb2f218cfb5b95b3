"""Mutual exclusion across the processes of one machine, freed by the kernel when a process dies."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, cast

from tuspy_server.errors import LockerUnavailable
from tuspy_server.interfaces import DataStore
from tuspy_server.lockers.lock_files import LockFiles
from tuspy_server.lockers.worker import Worker, call_each, start_anew_after_fork

_log = logging.getLogger("tuspy_server")

_WATCH_INTERVAL = 0.05
_WISH_PERIOD = 0.5
_KEYS = 2**62 - 1
_NO_SUCH_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK})


class _Files(Protocol):
    """What ByteRanges and LockFiles have in common; see there."""

    def probe(self) -> None: ...
    def acquire(self, key: int) -> bool: ...
    def release(self, key: int) -> None: ...
    def in_place(self) -> bool: ...
    def move(self, held: Collection[int]) -> list[int]: ...
    def want(self, key: int) -> bool: ...
    def unwant(self, key: int) -> None: ...
    def wanted(self, held: Collection[int]) -> Iterable[int]: ...
    def forget(self) -> None: ...


class _HasDirectory(Protocol):
    """A store that keeps its files in one directory."""

    @property
    def directory(self) -> str | os.PathLike[str]: ...


class FileLock:
    """An upload held by a request of this process. No token: the file store locks the data file as well while
    it is open, so that a writer that outlived its lock cannot write beside another."""

    __slots__ = ("_key", "_locker", "on_lost", "on_release_requested")

    token: None = None

    def __init__(
        self, locker: FileLocker, key: int, on_release_requested: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._locker = locker
        self._key = key
        self.on_release_requested = on_release_requested
        self.on_lost = on_lost

    @property
    def alive(self) -> bool:
        """Whether the lock is still held. Never in a forked child: it stays the parent's."""
        return self._locker._held.get(self._key) is self

    def release(self) -> None:
        """Let go. Safe to call twice, after the lock was lost, and in a forked child."""
        self._locker._release(self, self._key)


class FileLocker:
    """Locks for the processes that share `directory` on one machine, or on a mount that locks across machines.

    On Linux all locks are single bytes, chosen by a 62-bit hash of the upload's id, of the one file
    `directory/.locks`, locked through an open file description (F_OFD_SETLK). The kernel frees them when the
    process dies; no file is made, removed or read per request, and nothing depends on process ids. The file
    is never removed; if somebody else does, processes go over to the new one, and a lock that another process
    took there meanwhile is lost. A forked child starts with nothing held. Where such locks are missing, a
    lock file per held upload below `directory/.locks.d` does the same by way of the filelock package.

    How a request reaches the holder in another process: `request_release` locks, shared and for half a second
    after its last call, a second byte of the same file that stands for the wish. A process that holds locks
    looks every 50 ms, in one daemon thread, for any lock in the range of wishes: one system call, whose answer
    nearly always is no. Otherwise it finds the wished-for uploads among its own and calls their
    `on_release_requested`, again and again while the wish lasts. The wish of a waiter that dies goes with it.
    """

    retry_interval = 0.02
    is_local = True

    _held: dict[int, FileLock]
    _wishes: dict[int, float]
    _watcher: Worker

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Make `directory` if it is missing. Raises OSError if no lock file can be made in it."""
        self._files = _choose_files(Path(directory))
        self._start_anew()
        start_anew_after_fork(self)

    @classmethod
    def for_store(cls, store: DataStore) -> FileLocker:
        """A locker in the store's own directory, for a composer that was given none."""
        return cls(cast(_HasDirectory, store).directory)

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> FileLock | None:
        """Take the lock if it is free, else None. Raises LockerUnavailable if the lock file cannot be used."""
        key = _key(upload_id)
        lost: list[FileLock] = []
        try:
            with self._mutex:
                if key in self._held:
                    return None
                self._watcher.wake()
                if not self._acquire(key, lost):
                    return None
                if key in self._wishes:
                    self._drop_wish(key)
                lock = self._held[key] = FileLock(self, key, on_release_requested, on_lost)
                return lock
        except (OSError, RuntimeError) as exc:
            raise LockerUnavailable from exc
        finally:
            call_each(lock.on_lost for lock in lost)

    def request_release(self, upload_id: str, /) -> None:
        """Ask the holder, in this process or another, to let go; nothing happens if nobody holds it."""
        key = _key(upload_id)
        with self._mutex:
            lock = self._held.get(key)
            if lock is None:
                self._wish(key)
        if lock is not None:
            lock.on_release_requested()

    def _wish(self, key: int) -> None:
        try:
            self._watcher.wake()
            if self._files.want(key):
                self._wishes[key] = time.monotonic() + _WISH_PERIOD
        except (OSError, RuntimeError) as exc:
            raise LockerUnavailable from exc

    def _acquire(self, key: int, lost: list[FileLock]) -> bool:
        while self._files.acquire(key):
            if self._files.in_place():
                return True
            self._files.release(key)
            lost += self._move()
        return False

    def _move(self) -> list[FileLock]:
        return [self._held.pop(key) for key in self._files.move(self._held)]

    def _release(self, lock: FileLock, key: int) -> None:
        with self._mutex:
            if self._held.get(key) is lock:
                del self._held[key]
                self._files.release(key)

    def _drop_wish(self, key: int) -> None:
        del self._wishes[key]
        self._files.unwant(key)

    def _look(self) -> float | None:
        """One round of the watcher; None if there was nothing to watch for."""
        asked: list[FileLock] = []
        lost: list[FileLock] = []
        with self._mutex:
            try:
                self._look_after_wishes()
                if self._held:
                    lost = [] if self._files.in_place() else self._move()
                    asked = [self._held[key] for key in self._files.wanted(self._held)]
            except OSError as exc:
                _log.warning("cannot watch the lock file for release requests: %s", exc)
            busy = bool(self._held or self._wishes)
        call_each(lock.on_lost for lock in lost)
        call_each(lock.on_release_requested for lock in asked)
        return _WATCH_INTERVAL if busy else None

    def _look_after_wishes(self) -> None:
        now = time.monotonic()
        for key in [key for key, end in self._wishes.items() if end <= now]:
            self._drop_wish(key)

    def _start_anew(self) -> None:
        self._held = {}
        self._wishes = {}
        self._mutex = threading.Lock()
        self._watcher = Worker("tus-file-locker", self._look)

    def start_anew_in_child(self) -> None:
        """What the parent holds stays its own: nothing is held here, and no open file is shared."""
        self._files.forget()
        self._start_anew()


def _key(upload_id: str) -> int:
    # Two ids of one key would only wait for each other; with 62 bits they do not meet.
    digest = blake2b(upload_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _KEYS


def _choose_files(directory: Path) -> _Files:
    if sys.platform == "linux" and sys.maxsize > 2**32:
        from tuspy_server.lockers.byte_ranges import ByteRanges

        ranges = ByteRanges(directory / ".locks")
        if _usable(ranges):
            return ranges
    files = LockFiles(directory / ".locks.d", wish_period=_WISH_PERIOD)
    return files if _usable(files) else LockFiles(directory / ".locks.d", wish_period=_WISH_PERIOD, soft=True)


def _usable(files: _Files) -> bool:
    """Whether the file system has such locks. Other trouble is raised: one process must not choose otherwise than the
    rest because its disk was full for a moment."""
    try:
        files.probe()
    except NotImplementedError:
        return False
    except OSError as exc:
        if exc.errno in _NO_SUCH_LOCKS:
            return False
        raise
    return True
