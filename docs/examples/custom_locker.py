"""A locker of one's own: a locked file for each upload in use, for several processes on one machine.

uvicorn --workers 2 --factory custom_locker:create_app

The kernel frees the lock of a process that died. Whoever wants an upload touches a file beside the lock; a thread
of the holder's process looks for those of the uploads it holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tuspy_server import ASGIApp, Composer, Config, FileStore

LOOK_INTERVAL = 0.05
WISH_LIFETIME = 1.0


class FlockLocker:
    retry_interval = 0.05

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._held: dict[FlockLock, Callable[[], None]] = {}
        self._mutex = threading.Lock()
        os.register_at_fork(after_in_child=self._hold_nothing)

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> FlockLock | None:
        path = self._path(upload_id)
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        lock = FlockLock(self, path, file)
        with self._mutex:
            self._held[lock] = on_release_requested
            if len(self._held) == 1:
                threading.Thread(target=self._look, daemon=True).start()
        return lock

    def request_release(self, upload_id: str, /) -> None:
        self._path(upload_id).with_suffix(".wanted").touch()

    def forget(self, lock: FlockLock) -> None:
        with self._mutex:
            self._held.pop(lock, None)

    def _hold_nothing(self) -> None:
        """In a child that this process forked."""
        self._mutex = threading.Lock()
        for lock in self._held:
            lock.abandon()
        self._held = {}

    def _path(self, upload_id: str) -> Path:
        return self._directory / hashlib.sha256(ascii(upload_id).encode()).hexdigest()

    def _look(self) -> None:
        """Until nothing is held any more."""
        while held := self._copy():
            for lock, on_release_requested in held.items():
                if lock.is_wanted():
                    on_release_requested()
            time.sleep(LOOK_INTERVAL)

    def _copy(self) -> dict[FlockLock, Callable[[], None]]:
        with self._mutex:
            return dict(self._held)


class FlockLock:
    token = None

    def __init__(self, locker: FlockLocker, path: Path, file: int) -> None:
        self._locker = locker
        self._wanted = path.with_suffix(".wanted")
        self._file = file
        self.alive = True

    def is_wanted(self) -> bool:
        try:
            return time.time() - self._wanted.stat().st_mtime < WISH_LIFETIME
        except FileNotFoundError:
            return False

    def abandon(self) -> None:
        self.alive = False
        os.close(self._file)

    def release(self) -> None:
        if self.alive:
            self._locker.forget(self)
            self._wanted.unlink(missing_ok=True)
            self.abandon()


def create_app() -> ASGIApp:
    composer = Composer(FileStore("uploads"), locker=FlockLocker("locks"))
    return ASGIApp(composer, Config(base_path="/files"))
