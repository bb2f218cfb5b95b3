"""Writers of the file store: bytes at the end of a data file that nobody else writes to meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NoReturn

from tuspy_server.errors import RecordChanged, StoreError, StoreFailed, SyncFailed
from tuspy_server.stores.data_file import DataFiles
from tuspy_server.stores.system import MOST_PIECES, System, failure
from tuspy_server.stores.upload_records import Records

_WRITEBACK_STEP = 8 << 20


class FileWriter:
    """Appends to an open, locked data file; nothing is buffered.

    With `early` the system starts to write to the disk as soon as there is something to write, so that a later
    sync is short.
    """

    __slots__ = (
        "_data",
        "_early",
        "_error",
        "_fd",
        "_flushed",
        "_id",
        "_moves",
        "_offset",
        "_records",
        "_start",
        "_system",
    )

    def __init__(
        self, system: System, data: DataFiles, records: Records, upload_id: str, fd: int, offset: int, *, early: bool
    ) -> None:
        self._system = system
        self._data = data
        self._records = records
        self._id = upload_id
        self._fd = fd
        self._start = self._offset = self._flushed = offset
        self._early = early
        self._moves = False
        self._error: StoreError | None = None

    def __del__(self) -> None:
        # a lock that was lost forbids `close`, yet the file must not stay open and locked
        self.abandon()

    def write(self, chunks: Sequence[bytes], /) -> None:
        if self._fd < 0:
            raise StoreFailed("the writer is closed")
        self._data.check_space()
        try:
            if len(chunks) <= MOST_PIECES:
                self._put(chunks)
            else:
                for start in range(0, len(chunks), MOST_PIECES):
                    self._put(chunks[start : start + MOST_PIECES])
            if self._moves:
                self._system.seek(self._fd, self._offset)
        except OSError as exc:
            raise failure(exc) from exc
        self._flush_early()

    def fileno(self) -> int:
        """The data file, positioned at its end, for a kernel move; tell the bytes it put there to `moved`."""
        if self._fd < 0:
            raise StoreFailed("the writer is closed")
        self._data.check_space()
        self._moves = True
        self._system.seek(self._fd, self._offset)
        return self._fd

    def moved(self, size: int, /) -> None:
        self._offset += size
        self._flush_early()

    def flush(self) -> int:
        """Make what was written as durable as `close` does; the offset that may be announced."""
        try:
            return self._settle()
        except StoreError:
            self.abandon()
            raise

    def close(self) -> int:
        if self._fd >= 0:
            try:
                self._offset = self._settle()
                self._close()
            except StoreError as exc:
                self._error = exc
                self.abandon()
        if self._error is not None:
            raise self._error
        return self._offset

    def abandon(self) -> None:
        """Unlock and close the file, and write nothing."""
        if self._fd >= 0:
            with suppress(OSError):
                self._release()

    def _settle(self) -> int:
        """What the file holds, durable if that is promised."""
        try:
            found = self._system.fstat(self._fd)
        except OSError as exc:
            raise failure(exc) from exc
        if not found.st_nlink:
            raise RecordChanged("the upload was removed")
        if self._records.durable and found.st_size != self._start:
            try:
                self._system.sync(self._fd)
            except OSError as exc:
                self._condemn(exc)
            self._records.vouch(self._id, found.st_size)
        return found.st_size

    def _close(self) -> None:
        try:
            self._release()
        except OSError as exc:
            # network file systems tell here that bytes were lost
            self._condemn(exc)

    def _condemn(self, exc: OSError) -> NoReturn:
        self._records.condemn(self._id)
        raise SyncFailed from exc

    def _put(self, chunks: Sequence[bytes]) -> None:
        size = sum(map(len, chunks))
        while size:
            taken = self._system.write(self._fd, chunks, self._offset)
            self._offset += taken
            size -= taken
            if size:
                chunks = list(_rest(chunks, taken))

    def _flush_early(self) -> None:
        size = self._offset - self._flushed
        if not self._early or size < _WRITEBACK_STEP:
            return
        try:
            self._system.start_writeback(self._fd, self._flushed, size)
        except OSError as exc:
            self._condemn(exc)
        self._flushed = self._offset

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            self._system.unlock(fd)
        finally:
            self._system.close(fd)


class StagedFileWriter(FileWriter):
    """Appends behind a pin in the record, up to which alone the data file counts until the pin goes."""

    __slots__ = ()

    def discard(self) -> None:
        if self._fd < 0:
            return
        self._offset = self._start
        # the pin alone keeps the bytes from counting: where cutting them off fails, the next writer does it
        with suppress(OSError, StoreError):
            self._system.truncate(self._fd, self._start)
            self._records.vouch(self._id, self._start)
        self.abandon()

    def _settle(self) -> int:
        size = super()._settle()
        if not self._records.durable or size == self._start:
            self._records.vouch(self._id, size)
        return size


def _rest(chunks: Sequence[bytes], taken: int) -> Iterator[bytes]:
    """What is left of `chunks` behind their first `taken` bytes."""
    for chunk in chunks:
        if taken >= len(chunk):
            taken -= len(chunk)
        else:
            yield chunk[taken:] if taken else chunk
            taken = 0
