"""The system calls of the file store, in one place: what a platform lacks is made up for here.

Tests replace `System` to record, fail or stop at any call.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Final

from tuspy_server.errors import StoreError, StoreFailed, StoreFull, StoreUnavailable

if sys.platform != "win32":
    import fcntl

NOFOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
BINARY: Final[int] = getattr(os, "O_BINARY", 0)
READ: Final = os.O_RDONLY | NOFOLLOW | BINARY
WRITE: Final = os.O_WRONLY | NOFOLLOW | BINARY
READ_WRITE: Final = os.O_RDWR | NOFOLLOW | BINARY
SYNC: Final = READ_WRITE if sys.platform == "win32" else READ
NEW: Final = os.O_CREAT | os.O_EXCL | WRITE

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TRANSIENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY})
_HAS_POSITIONS = hasattr(os, "pwrite")
_COPY_STEP = 1 << 30
_READ_STEP = 1 << 20
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_NO_COPY = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.EPERM})


def _most_pieces() -> int:
    try:
        return os.sysconf("SC_IOV_MAX")
    except (AttributeError, ValueError, OSError):
        return 1


def failure(exc: OSError) -> StoreError:
    """What a failed system call means to a client; raise it `from exc`."""
    if exc.errno in _FULL:
        return StoreFull()
    if exc.errno in _TRANSIENT:
        return StoreUnavailable()
    return StoreFailed()


# pieces that one write may carry; 1 where there is no gathering write at an offset
MOST_PIECES: Final = _most_pieces() if hasattr(os, "pwritev") else 1


class System:
    """Thin names for system calls. All raise OSError. `locks`: whether `lock` keeps anybody out."""

    locks: Final = sys.platform != "win32"

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        return os.open(path, flags, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def stat(self, path: str) -> os.stat_result:
        """Of the path itself, never of what a symbolic link points to."""
        return os.lstat(path)

    def read(self, fd: int, size: int) -> bytes:
        return os.read(fd, size)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        if _HAS_POSITIONS:
            return os.pread(fd, size, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size)

    def write(self, fd: int, chunks: Sequence[bytes], offset: int) -> int:
        """Write at most MOST_PIECES pieces, not all of them empty, at `offset`; how many bytes were taken, never 0."""
        if len(chunks) > 1:
            taken = os.pwritev(fd, chunks, offset)
        elif _HAS_POSITIONS:
            taken = os.pwrite(fd, chunks[0], offset)
        else:
            os.lseek(fd, offset, os.SEEK_SET)
            taken = os.write(fd, chunks[0])
        if not taken:
            raise OSError(errno.EIO, "the system took no byte")
        return taken

    def seek(self, fd: int, offset: int) -> None:
        os.lseek(fd, offset, os.SEEK_SET)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)

    def make_directory(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def sync(self, fd: int) -> None:
        """Make the file's bytes and size durable."""
        if sys.platform == "darwin":
            # fsync there stops at the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def open_directory(self, path: str) -> int | None:
        """For `sync_names`; None where directories cannot be made durable (Windows)."""
        return None if sys.platform == "win32" else os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def sync_names(self, fd: int) -> None:
        """Make the names in an open directory durable."""
        os.fsync(fd)

    def start_writeback(self, fd: int, offset: int, size: int) -> None:
        """Let the kernel begin to write these bytes to the disk, without waiting for it."""
        _start_writeback(fd, offset, size)

    def lock(self, fd: int, *, wait: bool) -> bool:
        """Lock the open file against others that do the same; False if it is taken. A closed file is unlocked."""
        if sys.platform == "win32":
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
        return True

    def can_lock(self, directory: str) -> bool:
        """Whether `lock` means anything for files there: not on Windows, nor on a mount without locks."""
        if sys.platform == "win32":
            return False
        from tempfile import TemporaryFile  # here, since it brings much along and few ask

        with TemporaryFile(dir=directory) as probe:
            try:
                fcntl.flock(probe.fileno(), fcntl.LOCK_EX)
            except OSError as exc:
                if exc.errno not in _NO_LOCKS:
                    raise
                return False
        return True

    def unlock(self, fd: int) -> None:
        """Before close: a child process forked meanwhile shares the lock and would keep it."""
        if sys.platform != "win32":
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)
            except OSError as exc:
                if exc.errno not in _NO_LOCKS:
                    raise

    def copy(self, source: int, target: int, offset: int, size: int) -> int:
        """Append `size` bytes from the start of `source` to `target` at `offset`; how many there were."""
        copied = 0
        try:
            while hasattr(os, "copy_file_range") and copied < size:
                step = min(size - copied, _COPY_STEP)
                taken = os.copy_file_range(source, target, step, copied, offset + copied)
                if not taken:
                    break
                copied += taken
        except OSError as exc:
            if exc.errno not in _NO_COPY:
                raise
        while copied < size:
            piece = self.pread(source, min(size - copied, _READ_STEP), copied)
            if not piece:
                break
            while piece:
                taken = self.write(target, [piece], offset + copied)
                copied += taken
                piece = piece[taken:]
        return copied

    def boot(self) -> str:
        """Names the time since the machine was started, "" if unknown; it changes with every power loss."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read(36)
        except OSError:
            return ""

    def free(self, path: str) -> int | None:
        """Bytes that may still be written there, None if unknown."""
        if not hasattr(os, "statvfs"):
            return None
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


if sys.platform == "linux":
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)
    _START_ONLY = 2

    def _start_writeback(fd: int, offset: int, size: int) -> None:
        call = getattr(_libc, "sync_file_range", None)
        if call is None:
            return
        arguments = ctypes.c_int(fd), ctypes.c_int64(offset), ctypes.c_int64(size), ctypes.c_uint(_START_ONLY)
        if call(*arguments) and ctypes.get_errno() == errno.EIO:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

else:

    def _start_writeback(fd: int, offset: int, size: int) -> None:
        pass
