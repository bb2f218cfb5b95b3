"""Uploads in memory: for tests, demonstrations and what may be lost with the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import RLock
from typing import TypeAlias

from tuspy_server.errors import RecordChanged, StoreFailed, StoreFull, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo

_PIECE = 256 * 1024


@dataclass(slots=True)
class _Entry:
    record: UploadInfo
    data: bytearray = field(default_factory=bytearray)
    fence: int = 0
    writer: _Owner | None = None


class MemoryStore:
    """Keeps everything in this process; safe for any number of threads, never for several processes.

    `capacity` bounds the bytes of all uploads together (StoreFull beyond it), None does not.
    """

    default_locker = "tuspy_server.lockers.memory:MemoryLocker"
    finishes = False
    slides = False
    is_local = True

    def __init__(self, *, capacity: int | None = None) -> None:
        self._entries: dict[str, _Entry] = {}
        self._mutex = RLock()
        self._capacity = capacity
        self._used = 0

    def create(self, info: UploadInfo, /) -> UploadInfo:
        with self._mutex:
            if info.id in self._entries:
                raise UploadExists
            record = replace(info, offset=0, revision="1")
            self._entries[info.id] = _Entry(record)
            return record

    def get(self, upload_id: str, /) -> UploadInfo:
        with self._mutex:
            entry = self._find(upload_id)
            if entry.record.state is State.GONE:
                raise UploadGone
            return replace(entry.record, offset=len(entry.data))

    def update(self, info: UploadInfo, /) -> UploadInfo:
        with self._mutex:
            entry = self._find(info.id)
            if entry.record.revision != info.revision:
                raise RecordChanged
            entry.record = replace(info, offset=len(entry.data), revision=str(int(info.revision) + 1))
            return entry.record

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MemoryWriter:
        """A writer that takes over from any earlier one of this upload, which can then no longer write or close."""
        with self._mutex:
            entry = self._claim(info, fence)
            entry.writer = writer = MemoryWriter(self, entry)
            return writer

    def stage(self, info: UploadInfo, /, *, fence: int | None) -> MemoryStagedWriter:
        with self._mutex:
            entry = self._claim(info, fence)
            entry.writer = writer = MemoryStagedWriter(self, entry)
            return writer

    def finish(self, info: UploadInfo, /) -> None:
        with self._mutex:
            self._find(info.id)

    def terminate(self, info: UploadInfo, /) -> None:
        with self._mutex:
            entry = self._entries.pop(info.id, None)
            if entry is None:
                return
            self._used -= len(entry.data)
            entry.writer = None
            if info.state is State.GONE and info.expires is not None:
                revision = str(int(entry.record.revision) + 1)
                self._entries[info.id] = _Entry(replace(info, offset=0, revision=revision))

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        with self._mutex:
            entry = self._find(info.id)
            data = bytearray()
            for part in parts:
                source = self._entries.get(part.id)
                if source is None or len(source.data) != part.length:
                    raise StoreFailed("a partial upload vanished or is short")
                data += source.data
            self._reserve(len(data) - len(entry.data))
            entry.data = data
            return replace(info, offset=len(data))

    def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        return self.update(replace(info, length=length))

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        return (info for info in self.uploads() if info.expires is not None and info.expires <= now)

    def uploads(self) -> Iterator[UploadInfo]:
        """Every upload with its true offset, tombstones too."""
        with self._mutex:
            entries = list(self._entries.values())
        for entry in entries:
            yield replace(entry.record, offset=len(entry.data))

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        while start < stop:
            with self._mutex:
                entry = self._entries.get(info.id)
                piece = bytes(entry.data[start : min(start + _PIECE, stop)]) if entry else b""
            if not piece:
                raise UploadGone
            yield piece
            start += len(piece)

    def _find(self, upload_id: str) -> _Entry:
        entry = self._entries.get(upload_id)
        if entry is None:
            raise UploadNotFound
        return entry

    def _claim(self, info: UploadInfo, fence: int | None) -> _Entry:
        entry = self._find(info.id)
        if entry.record.state is State.GONE:
            raise UploadGone
        if len(entry.data) != info.offset or (fence is not None and fence < entry.fence):
            raise RecordChanged
        entry.fence = fence or entry.fence
        return entry

    def _reserve(self, size: int) -> None:
        if self._capacity is not None and size > 0 and self._used + size > self._capacity:
            raise StoreFull
        self._used += size

    def _append(self, writer: _Owner, entry: _Entry, chunks: Sequence[bytes]) -> int:
        """Append all of `chunks` or none; return the new size. Raises RecordChanged once `writer` was superseded."""
        with self._mutex:
            if entry.writer is not writer:
                raise RecordChanged
            self._reserve(sum(map(len, chunks)))
            for chunk in chunks:
                entry.data += chunk
            return len(entry.data)


class MemoryWriter:
    """Appends at once; nothing is buffered."""

    def __init__(self, store: MemoryStore, entry: _Entry) -> None:
        self._store = store
        self._entry = entry
        self._offset = len(entry.data)
        self._closed = False

    def write(self, chunks: Sequence[bytes], /) -> None:
        self._offset = self._store._append(self, self._entry, chunks)

    def close(self) -> int:
        if not self._closed:
            self._store._append(self, self._entry, ())
            self._closed = True
        return self._offset


class MemoryStagedWriter:
    """Holds the pieces back until `close`."""

    def __init__(self, store: MemoryStore, entry: _Entry) -> None:
        self._store = store
        self._entry = entry
        self._pieces: list[bytes] = []
        self._offset = len(entry.data)
        self._closed = False

    def write(self, chunks: Sequence[bytes], /) -> None:
        self._store._append(self, self._entry, ())
        self._pieces.extend(chunks)

    def close(self) -> int:
        if not self._closed:
            self._offset = self._store._append(self, self._entry, self._pieces)
            self._closed = True
            self._pieces = []
        return self._offset

    def discard(self) -> None:
        self._closed = True
        self._pieces = []


_Owner: TypeAlias = MemoryWriter | MemoryStagedWriter
