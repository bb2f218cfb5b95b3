"""Stores of either colour as plain calls, so that one suite serves them all."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from datetime import datetime
from inspect import isawaitable
from typing import TypeVar, cast

from anyio.from_thread import BlockingPortal

from tuspy_server.interfaces import (
    Concater,
    DataStore,
    Expirer,
    LengthDeferrer,
    MaybeAwaitable,
    Reader,
    StagedWriter,
    Stager,
    Terminater,
    Writer,
)
from tuspy_server.models import UploadInfo

T = TypeVar("T")


def settle(portal: BlockingPortal, value: MaybeAwaitable[T]) -> T:
    """`value`, or what it results in on the portal's event loop."""
    if isawaitable(value):
        return portal.call(_result, value)
    return value


def collect(portal: BlockingPortal, values: Iterable[T] | AsyncIterable[T]) -> list[T]:
    """Every item of either kind of iterable."""
    if isinstance(values, AsyncIterable):
        return portal.call(_items, values)
    return list(values)


async def _result(value: Awaitable[T]) -> T:
    return await value


async def _items(values: AsyncIterable[T]) -> list[T]:
    return [item async for item in values]


class SettledWriter:
    """A Writer, or a StagedWriter, as plain calls."""

    def __init__(self, writer: Writer, portal: BlockingPortal) -> None:
        self.writer = writer
        self._portal = portal

    def write(self, *chunks: bytes) -> None:
        settle(self._portal, self.writer.write(chunks))

    def close(self) -> int:
        return settle(self._portal, self.writer.close())

    def discard(self) -> None:
        settle(self._portal, cast("StagedWriter", self.writer).discard())


class SettledStore:
    """A store as plain calls; `store` is the one under test."""

    def __init__(self, store: DataStore, portal: BlockingPortal) -> None:
        self.store = store
        self._portal = portal

    def create(self, info: UploadInfo) -> UploadInfo:
        return settle(self._portal, self.store.create(info))

    def get(self, upload_id: str) -> UploadInfo:
        return settle(self._portal, self.store.get(upload_id))

    def update(self, info: UploadInfo) -> UploadInfo:
        return settle(self._portal, self.store.update(info))

    def open(self, info: UploadInfo, fence: int | None = None) -> SettledWriter:
        return SettledWriter(settle(self._portal, self.store.open(info, fence=fence)), self._portal)

    def finish(self, info: UploadInfo) -> None:
        settle(self._portal, self.store.finish(info))

    def stage(self, info: UploadInfo, fence: int | None = None) -> SettledWriter:
        stager = cast("Stager", self.store)
        return SettledWriter(settle(self._portal, stager.stage(info, fence=fence)), self._portal)

    def terminate(self, info: UploadInfo) -> None:
        settle(self._portal, cast("Terminater", self.store).terminate(info))

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo]) -> UploadInfo:
        return settle(self._portal, cast("Concater", self.store).concat(info, parts))

    def declare_length(self, info: UploadInfo, length: int) -> UploadInfo:
        return settle(self._portal, cast("LengthDeferrer", self.store).declare_length(info, length))

    def expired(self, now: datetime) -> list[UploadInfo]:
        return collect(self._portal, cast("Expirer", self.store).expired(now))

    def read(self, info: UploadInfo, start: int, stop: int) -> bytes:
        return b"".join(collect(self._portal, cast("Reader", self.store).read(info, start, stop)))
