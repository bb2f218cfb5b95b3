"""The bytes of a part while it fills: in memory, or in a file without a name where the operator wants that."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol

from tuspy_server.errors import StoreFull


class Buffer(Protocol):
    """Takes bytes until the part is full, then serves as the body of a request."""

    @property
    def size(self) -> int: ...

    def add(self, piece: memoryview) -> None: ...

    def body(self) -> bytearray | IO[bytes]:
        """What the SDK sends, from its beginning."""

    def drop(self) -> None:
        """Give the space back."""


class MemoryBuffer:
    """Grows with what it holds: a client that sent one byte costs no whole part."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def size(self) -> int:
        return len(self._bytes)

    def add(self, piece: memoryview) -> None:
        self._bytes += piece

    def body(self) -> bytearray:
        return self._bytes

    def drop(self) -> None:
        self._bytes = bytearray()


class FileBuffer:
    """A file that has no name and so vanishes with the process."""

    def __init__(self, directory: Path) -> None:
        self._file = TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed by drop()
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def add(self, piece: memoryview) -> None:
        while piece:
            try:
                written = self._file.write(piece)
            except OSError as exc:
                raise StoreFull("the spool directory takes no more bytes") from exc
            self._size += written
            piece = piece[written:]

    def body(self) -> IO[bytes]:
        self._file.seek(0)
        return self._file

    def drop(self) -> None:
        self._file.close()


def new_buffer(directory: Path | None) -> Buffer:
    """A buffer in memory, or in `directory`."""
    return MemoryBuffer() if directory is None else FileBuffer(directory)
