"""One lock file for all uploads of a directory: open-file-description locks on single bytes of it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

# A lock on key k is the byte k; a wish for it the byte k + WANTED. Keys are smaller than WANTED.
WANTED = 2**62

# struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (0 for open-file-description locks).
_FLOCK = struct.Struct("@hhqqi4x")


class _OpenFile:
    """An open file description of our own: the kernel knows lock owners by it."""

    fd = -1

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close

    def set_lock(self, kind: int, start: int) -> bool:
        """Lock or unlock one byte without waiting; False if another description holds it."""
        try:
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, 1, 0))
        except OSError as exc:
            if exc.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def find_lock(self, start: int, size: int) -> tuple[int, int] | None:
        """Start and size of some lock of another description in the range; None if there is none."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, size, 0)
        kind, _, found, length, _ = _FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_OFD_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else (found, length)


class ByteRanges:
    """Locks of one process. Not thread-safe: the owner brings a mutex.

    Holding and wanting go through two open file descriptions, so that a process sees the wishes of others
    without meeting its own locks. Both are opened on first use and never shared with a forked child.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.fsencode(path)
        self._holding: _OpenFile | None = None
        self._wanting: _OpenFile | None = None
        self._identity = (0, 0)

    def probe(self) -> None:
        """Raise OSError if the file cannot be made, or its file system has no such locks."""
        file = _OpenFile(self._path)
        try:
            file.find_lock(0, 1)
        finally:
            file.close()

    def acquire(self, key: int) -> bool:
        """Lock `key` if it is free. The answer counts only if `in_place` is true afterwards."""
        return self._held_through().set_lock(fcntl.F_WRLCK, key)

    def release(self, key: int) -> None:
        """Unlock `key`."""
        self._held_through().set_lock(fcntl.F_UNLCK, key)

    def in_place(self) -> bool:
        """Whether the path still names the file that our locks are on."""
        try:
            stat = os.stat(self._name)
        except FileNotFoundError:
            return False
        return (stat.st_dev, stat.st_ino) == self._identity

    def move(self, held: Collection[int]) -> list[int]:
        """Go over to the file that the path names now, with all locks. Returns those that another process has there."""
        old = (self._holding, self._wanting)
        moved = self._open_holding()
        lost = [key for key in held if not moved.set_lock(fcntl.F_WRLCK, key)]
        self._wanting = None
        for file in old:
            if file is not None:
                file.close()
        return lost

    def want(self, key: int) -> bool:
        """Let its holder know that this process wants `key`; False if no other process holds it."""
        if self._held_through().find_lock(key, 1) is None:
            return False
        if self._wanting is None:
            self._wanting = _OpenFile(self._path)
        return self._wanting.set_lock(fcntl.F_RDLCK, key + WANTED)

    def unwant(self, key: int) -> None:
        """Take `want` back."""
        if self._wanting is not None:
            self._wanting.set_lock(fcntl.F_UNLCK, key + WANTED)

    def wanted(self, held: Collection[int]) -> Iterator[int]:
        """Those of `held` that some process wants: one system call if nobody wants anything.

        The kernel reports any one lock of a range, so what lies before and after it is asked for in turn.
        """
        holding = self._held_through()
        ranges = [(WANTED, 2 * WANTED - 1)]
        while ranges:
            start, stop = ranges.pop()
            if start >= stop or (found := holding.find_lock(start, stop - start)) is None:
                continue
            first, end = found[0], found[0] + found[1]
            yield from (key for key in range(first - WANTED, end - WANTED) if key in held)
            ranges += [(start, first), (end, stop)]

    def forget(self) -> None:
        """In a forked child: let go of the parent's descriptions. Its locks stay, for it has them open still."""
        for file in (self._holding, self._wanting):
            if file is not None:
                file.close()
        self._holding = self._wanting = None

    def _held_through(self) -> _OpenFile:
        return self._holding or self._open_holding()

    def _open_holding(self) -> _OpenFile:
        file = _OpenFile(self._path)
        stat = os.fstat(file.fd)
        self._identity = (stat.st_dev, stat.st_ino)
        self._holding = file
        return file
