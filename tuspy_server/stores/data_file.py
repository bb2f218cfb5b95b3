"""Data files: reserved, locked, copied and read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from os import stat_result
from stat import S_ISREG

from tuspy_server.errors import RecordChanged, StoreFailed, StoreFull, TusError, UploadExists, UploadGone
from tuspy_server.models import UploadInfo
from tuspy_server.stores.paths import Paths
from tuspy_server.stores.system import NEW, READ, WRITE, System

_FIRST_READ = 256 * 1024
_LARGEST_READ = 1024 * 1024


class DataFiles:
    """The data files of one store. `place` is where one lies, see Paths. All raise OSError, too."""

    def __init__(self, system: System, paths: Paths, file_mode: int, dir_mode: int, min_free: int) -> None:
        self._system = system
        self._paths = paths
        self._file_mode = file_mode
        self._dir_mode = dir_mode
        self._min_free = min_free

    def check_space(self) -> None:
        """Raises StoreFull if fewer than `min_free` bytes are free."""
        if self._min_free:
            free = self._system.free(self._paths.directory)
            if free is not None and free < self._min_free:
                raise StoreFull

    def reserve(self, place: str) -> int:
        """Make an empty file, exclusively, and return it open and locked. Raises UploadExists."""
        path = self._paths.data(place)
        try:
            fd = self._make(path)
        except FileExistsError:
            raise UploadExists from None
        return self._locked(fd, UploadExists)

    def adopt(self, place: str) -> int:
        """As `reserve`, an empty file that nobody has locked: what a creation left that never ended."""
        try:
            fd = self._system.open(self._paths.data(place), WRITE)
        except OSError:
            raise UploadExists from None
        fd = self._locked(fd, UploadExists)
        found = self._system.fstat(fd)
        if found.st_size or not found.st_nlink or not S_ISREG(found.st_mode) or not self._system.locks:
            self.release(fd)
            raise UploadExists
        return fd

    def lock(self, place: str) -> int:
        """Open a file for writing. Raises RecordChanged while another has it open so, FileNotFoundError."""
        fd = self._system.open(self._paths.data(place), WRITE)
        return self._locked(fd, RecordChanged)

    def release(self, fd: int) -> None:
        try:
            self._system.unlock(fd)
        finally:
            self._system.close(fd)

    def stat(self, place: str) -> stat_result | None:
        """None if there is no such file: it was moved or removed."""
        try:
            found = self._system.stat(self._paths.data(place))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if S_ISREG(found.st_mode) else None

    def remove(self, place: str) -> None:
        with suppress(FileNotFoundError):
            self._system.unlink(self._paths.data(place))

    def copy(self, part: UploadInfo, target: int, offset: int) -> int:
        """Append a whole part to `target`; how many bytes it has. Raises StoreFailed unless all of them were there."""
        try:
            fd = self._system.open(self._paths.data(self._paths.place(part)), READ)
        except FileNotFoundError as exc:
            raise StoreFailed("a partial upload vanished") from exc
        try:
            size = self._system.fstat(fd).st_size
            if not part.is_full or size != part.length or self._system.copy(fd, target, offset, size) != size:
                raise StoreFailed("a partial upload is short")
            found = self._system.fstat(fd)
            if found.st_size != size or not found.st_nlink:
                raise StoreFailed("a partial upload changed while it was copied")
            return size
        finally:
            self._system.close(fd)

    def pieces(self, place: str, start: int, stop: int) -> Generator[bytes, None, None]:
        """The bytes of a range in pieces that grow to 1 MiB. Raises UploadGone if the file was moved or removed."""
        try:
            fd = self._system.open(self._paths.data(place), READ)
        except OSError as exc:
            raise UploadGone from exc
        size = _FIRST_READ
        try:
            while start < stop:
                piece = self._system.pread(fd, min(size, stop - start), start)
                if not piece:
                    raise StoreFailed("the data file is shorter than its record says")
                yield piece
                start += len(piece)
                size = min(size * 2, _LARGEST_READ)
        finally:
            self._system.close(fd)

    def _make(self, path: str) -> int:
        try:
            return self._system.open(path, NEW, self._file_mode)
        except FileNotFoundError:
            for parent in self._paths.parents(path):
                with suppress(FileExistsError):
                    self._system.make_directory(parent, self._dir_mode)
            return self._system.open(path, NEW, self._file_mode)

    def _locked(self, fd: int, taken: type[TusError]) -> int:
        try:
            if self._system.lock(fd, wait=False):
                return fd
        except BaseException:
            self._system.close(fd)
            raise
        self._system.close(fd)
        raise taken
