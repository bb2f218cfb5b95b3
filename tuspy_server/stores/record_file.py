"""Record files: made once, read whole, extended by a line under a lock."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from tuspy_server.errors import RecordChanged, SyncFailed, UploadGone, UploadNotFound
from tuspy_server.stores.record import Line, Pin, last_line, line_bytes
from tuspy_server.stores.system import NEW, READ, READ_WRITE, System

_COMPACT_ABOVE = 48 * 1024
_COMPACT_LINES = 8
_READ_STEP = 64 * 1024


def create(system: System, path: str, body: bytes, pin: Pin | None, mode: int, *, sync: bool) -> Line:
    """Make a record, exclusively. Raises FileExistsError; OSError, and then leaves none."""
    fd = system.open(path, NEW, mode)
    try:
        sequence = time.time_ns() // 1000
        data = line_bytes(sequence, pin, body)
        _write(system, fd, data, 0)
        if sync:
            system.sync(fd)
    except BaseException:
        system.unlink(path)
        raise
    finally:
        system.close(fd)
    return Line(sequence, pin, body, len(data), len(data))


def load(system: System, path: str) -> Line:
    """The state of a record. Raises UploadNotFound; UploadGone if none of it can be read; OSError."""
    try:
        fd = system.open(path, READ)
    except FileNotFoundError:
        raise UploadNotFound from None
    try:
        return _load(system, fd)
    finally:
        system.close(fd)


def _load(system: System, fd: int) -> Line:
    data = piece = system.read(fd, _READ_STEP)
    while len(piece) == _READ_STEP:
        piece = system.read(fd, _READ_STEP)
        data += piece
    line = last_line(data)
    if line is None:
        # an empty record is one whose creation never ended: it was not acknowledged to anybody
        raise UploadGone if data else UploadNotFound
    return line


def sync_names(system: System, directories: Sequence[str]) -> None:
    """Make the names in these directories durable."""
    for path in directories:
        fd = system.open_directory(path)
        if fd is not None:
            try:
                system.sync_names(fd)
            finally:
                system.close(fd)


def _write(system: System, fd: int, data: bytes, offset: int) -> None:
    while data:
        taken = system.write(fd, [data], offset)
        data, offset = data[taken:], offset + taken


class HeldRecord:
    """A record locked against the updates of every other process, as a context manager.

    Raises what `load` raises on entry.
    """

    def __init__(self, system: System, path: str, *, sync: bool) -> None:
        self._system = system
        self._path = path
        self._sync = sync
        self._fd = -1
        self._size = 0
        self._renamed = False
        self.line: Line

    def __enter__(self) -> HeldRecord:
        while not self._lock_current():
            pass
        try:
            self.line = _load(self._system, self._fd)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def append(self, body: bytes, *, pin: Pin | None, keep_version: bool = False) -> Line:
        """Make `body` the state of the record; with `keep_version` as the same version of it.

        Raises OSError, then nothing changed; SyncFailed, then the new state may not survive a power loss.
        """
        sequence = self.line.sequence + (not keep_version)
        data = line_bytes(sequence, pin, body)
        crowded = self.line.end + len(data) > max(_COMPACT_ABOVE, _COMPACT_LINES * len(data))
        end = len(data) if crowded and self._replace(data) else self._extend(data)
        self._size = end
        self.line = Line(sequence, pin, body, end, end)
        if self._sync:
            self._make_durable()
        return self.line

    def _lock_current(self) -> bool:
        """Lock the file; False if its name was given to another meanwhile, since compaction renames over it."""
        try:
            self._fd = self._system.open(self._path, READ_WRITE)
        except FileNotFoundError:
            raise UploadNotFound from None
        try:
            if not self._system.lock(self._fd, wait=True):
                raise RecordChanged
            found = self._system.fstat(self._fd)
        except BaseException:
            self._release()
            raise
        self._size = found.st_size
        if not found.st_nlink:
            self._release()
        return self._fd >= 0

    def _extend(self, data: bytes) -> int:
        """Add a line; where it ends."""
        start = self.line.end
        if self._size != start:
            # what a crash left of a line would otherwise become the start of this one
            self._system.truncate(self._fd, start)
        self._size = -1
        try:
            _write(self._system, self._fd, data, start)
        except BaseException:
            with suppress(OSError):
                self._system.truncate(self._fd, start)
            raise
        return start + len(data)

    def _replace(self, data: bytes) -> bool:
        """Put a file with this one line in the record's place; False if there is no room for both, for example."""
        directory, name = os.path.split(self._path)
        temporary = os.path.join(directory, f".new-{name}")
        try:
            with suppress(FileNotFoundError):
                self._system.unlink(temporary)
            fd = self._system.open(temporary, NEW, self._system.fstat(self._fd).st_mode & 0o777)
        except OSError:
            return False
        try:
            _write(self._system, fd, data, 0)
            # a name that points to bytes not yet durable would lose the record with the power
            self._sync_file(fd)
            self._system.lock(fd, wait=False)
            self._system.replace(temporary, self._path)
        except BaseException as exc:
            self._system.close(fd)
            with suppress(OSError):
                self._system.unlink(temporary)
            if isinstance(exc, OSError):
                return False
            raise
        self._release()
        self._fd = fd
        self._renamed = True
        return True

    def _sync_file(self, fd: int) -> None:
        try:
            self._system.sync(fd)
        except OSError as exc:
            raise SyncFailed from exc

    def _make_durable(self) -> None:
        self._sync_file(self._fd)
        try:
            if self._renamed:
                sync_names(self._system, [os.path.dirname(self._path)])
        except OSError as exc:
            raise SyncFailed from exc

    def _release(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                self._system.unlock(fd)
            finally:
                self._system.close(fd)
