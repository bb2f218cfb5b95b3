"""Bytes of a finished upload on their way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from tuspy_server.models import ByteRange, UploadInfo

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Bytes of an upload to be sent as the body. `first` was read already, to know that they are there."""

    info: UploadInfo
    span: ByteRange
    first: bytes
    rest: Iterator[bytes] | AsyncIterator[bytes]

    def path(self, store: object) -> PurePath | None:
        """The file that holds exactly these bytes, where the store has one."""
        path_of: Callable[[UploadInfo], PurePath] | None = getattr(store, "path", None)
        return path_of(self.info) if path_of is not None and self.span.size == self.info.length else None


async def open_download(runtime: Runtime, info: UploadInfo, wanted: ByteRange) -> Download:
    """Begin to read. Raises UploadGone if the app moved the bytes away, StoreError."""
    reader = runtime.composer.reader
    assert reader is not None
    pieces = reader.read(info, wanted.start, wanted.stop)
    return Download(info=info, span=wanted, first=await runtime.next_piece(pieces) or b"", rest=pieces)
