"""Any store of `def` methods in the other colour."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol, cast

from anyio.lowlevel import checkpoint

from tuspy_server.interfaces import (
    Concater,
    DataStore,
    Expirer,
    LengthDeferrer,
    Reader,
    StagedWriter,
    Stager,
    Terminater,
    Writer,
)
from tuspy_server.models import UploadInfo


class _Everything(DataStore, Stager, Terminater, Concater, LengthDeferrer, Expirer, Reader, Protocol): ...


class AsyncWriter:
    """A writer whose methods are `async def` and really suspend."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def write(self, chunks: Sequence[bytes], /) -> None:
        await checkpoint()
        self._writer.write(chunks)

    async def close(self) -> int:
        await checkpoint()
        return cast("int", self._writer.close())

    async def discard(self) -> None:
        await checkpoint()
        cast("StagedWriter", self._writer).discard()


class AsyncStore:
    """Wraps a store that implements every protocol with `def`; each call suspends once, then runs inline."""

    def __init__(self, store: DataStore) -> None:
        self.store = cast("_Everything", store)
        self.finishes: bool = getattr(store, "finishes", True)
        self.slides: bool = getattr(store, "slides", False)

    async def create(self, info: UploadInfo, /) -> UploadInfo:
        await checkpoint()
        return cast("UploadInfo", self.store.create(info))

    async def get(self, upload_id: str, /) -> UploadInfo:
        await checkpoint()
        return cast("UploadInfo", self.store.get(upload_id))

    async def update(self, info: UploadInfo, /) -> UploadInfo:
        await checkpoint()
        return cast("UploadInfo", self.store.update(info))

    async def open(self, info: UploadInfo, /, *, fence: int | None) -> AsyncWriter:
        await checkpoint()
        return AsyncWriter(cast("Writer", self.store.open(info, fence=fence)))

    async def finish(self, info: UploadInfo, /) -> None:
        await checkpoint()
        self.store.finish(info)

    async def stage(self, info: UploadInfo, /, *, fence: int | None) -> AsyncWriter:
        await checkpoint()
        return AsyncWriter(cast("Writer", self.store.stage(info, fence=fence)))

    async def terminate(self, info: UploadInfo, /) -> None:
        await checkpoint()
        self.store.terminate(info)

    async def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        await checkpoint()
        return cast("UploadInfo", self.store.concat(info, parts))

    async def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        await checkpoint()
        return cast("UploadInfo", self.store.declare_length(info, length))

    async def expired(self, now: datetime, /) -> AsyncIterator[UploadInfo]:
        for info in cast("list[UploadInfo]", self.store.expired(now)):
            await checkpoint()
            yield info

    async def read(self, info: UploadInfo, start: int, stop: int, /) -> AsyncIterator[bytes]:
        for piece in cast("list[bytes]", self.store.read(info, start, stop)):
            await checkpoint()
            yield piece
