"""A lock file per held upload, where the kernel has no open-file-description locks (macOS, Windows, some mounts)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

_GUARD_TIMEOUT = 5.0


class LockFiles:
    """Locks of one process. Not thread-safe: the owner brings a mutex.

    A wish is a file beside the lock file; it counts while its modification time is younger than
    `wish_period` seconds, so that the wish of a process that died is forgotten. `soft` locks by the mere
    existence of files, for file systems without locks: after a crash those are broken only by filelock's
    own rule, a dead process on the same host.
    """

    def __init__(self, directory: Path, *, soft: bool = False, wish_period: float = 1.0) -> None:
        self._directory = directory
        self._kind: type[BaseFileLock] = SoftFileLock if soft else FileLock
        self._wish_period = wish_period
        self._held: dict[int, BaseFileLock] = {}

    def probe(self) -> None:
        """Raise OSError if no lock file can be made."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._guarded():
            pass

    def acquire(self, key: int) -> bool:
        """Lock `key` if it is free."""
        lock = self._new_lock(self._file(key, "lock"))
        try:
            with self._guarded():
                lock.acquire(blocking=False)
        except Timeout:
            return False
        self._held[key] = lock
        return True

    def release(self, key: int) -> None:
        """Unlock `key` and remove its files."""
        lock = self._held.pop(key)
        try:
            with self._guarded(), suppress(PermissionError):
                # Windows refuses: an open file keeps its name there, and filelock removes it once it is closed.
                self._file(key, "want").unlink(missing_ok=True)
                if self._kind is FileLock:
                    self._file(key, "lock").unlink(missing_ok=True)
        finally:
            lock.release()

    def in_place(self) -> bool:
        """Always true: files are checked one by one under the guard."""
        return True

    def move(self, held: Collection[int]) -> list[int]:
        """Nothing ever moves."""
        return []

    def want(self, key: int) -> bool:
        """Let its holder know that this process wants `key`; False if nobody holds it."""
        if not self._file(key, "lock").exists():
            return False
        self._file(key, "want").touch()
        return True

    def unwant(self, key: int) -> None:
        """Take `want` back."""
        self._file(key, "want").unlink(missing_ok=True)

    def wanted(self, held: Collection[int]) -> Iterator[int]:
        """Those of `held` that some process wants."""
        now = time.time()
        for key in held:
            try:
                age = now - self._file(key, "want").stat().st_mtime
            except FileNotFoundError:
                continue
            if age < self._wish_period:
                yield key

    def forget(self) -> None:
        """In a forked child: the locks are the parent's. Kept, since collecting one would unlock it for the parent."""
        self._inherited = self._held
        self._held = {}

    def _guarded(self) -> AbstractContextManager[object]:
        """Files are opened and unlinked only under this lock, whose own file stays, or a process could hold a lock on a
        file whose name another process has given to a new one. A soft lock is its file and needs no guard."""
        if self._kind is SoftFileLock:
            return nullcontext()
        return self._new_lock(self._directory / "guard").acquire(timeout=_GUARD_TIMEOUT, poll_interval=0.002)

    def _new_lock(self, path: Path) -> BaseFileLock:
        # Not thread-local: a lock is released by whichever worker thread gets to it.
        return self._kind(path, thread_local=False)

    def _file(self, key: int, suffix: str) -> Path:
        return self._directory / f"{key:016x}.{suffix}"
