"""The bytes of a part while it fills: in memory, or in a file without a name where the operator wants that."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Protocol

from tuspy_server.errors import StoreFull

_SMALL: Final = 16 * 1024
_BLOCK: Final = 64 * 1024


class Buffer(Protocol):
    """Takes bytes until the part is full, then serves as the body of a request."""

    @property
    def size(self) -> int: ...

    def add(self, piece: memoryview) -> None: ...

    def body(self) -> IO[bytes] | Pieces:
        """What the SDK sends, from its beginning."""
        ...

    def drop(self) -> None:
        """Give the space back."""


class Pieces(io.RawIOBase):
    """A seekable body made of the pieces as they came, so that a part is in memory once and never copied whole."""

    def __init__(self, pieces: list[memoryview]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self._turn = self._within = self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = min(max(0, start + offset), self._size)
        self._turn, self._within = 0, self._place
        while self._turn < len(self._pieces) and self._within >= len(self._pieces[self._turn]):
            self._within -= len(self._pieces[self._turn])
            self._turn += 1
        return self._place

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, less at the end of a piece and never more than a block; all that is left for -1."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        if self._turn == len(self._pieces) or not size:
            return b""
        piece = self._pieces[self._turn]
        # Of larger blocks the allocator keeps a megabyte or two for every thread that sends parts.
        found = bytes(piece[self._within : self._within + min(size, _BLOCK)])
        self._within += len(found)
        self._place += len(found)
        if self._within == len(piece):
            self._turn, self._within = self._turn + 1, 0
        return found


class MemoryBuffer:
    """Keeps the pieces themselves: a client that sent one byte costs no whole part. Small ones are put together."""

    def __init__(self) -> None:
        self._pieces: list[memoryview] = []
        self._small = bytearray()
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def add(self, piece: memoryview) -> None:
        self._size += len(piece)
        if len(piece) >= _SMALL:
            self._join_small()
            self._pieces.append(piece)
            return
        self._small += piece
        if len(self._small) >= _BLOCK:
            self._join_small()

    def body(self) -> Pieces:
        self._join_small()
        return Pieces(self._pieces)

    def drop(self) -> None:
        self._pieces = []
        self._small = bytearray()

    def _join_small(self) -> None:
        if self._small:
            self._pieces.append(memoryview(self._small))
            self._small = bytearray()


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
