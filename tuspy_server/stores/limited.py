"""A cap on the space that all uploads of a store take together."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from tuspy_server.errors import StoreFull, UploadNotFound
from tuspy_server.interfaces import (
    Concater,
    DataStore,
    LengthDeferrer,
    MaybeAwaitable,
    StagedWriter,
    Stager,
    Terminater,
    Writer,
)
from tuspy_server.models import State, UploadInfo
from tuspy_server.stores.limited_shares import FileShares, Shares

T = TypeVar("T")

#: Methods that are carried out here; all others are the store's own.
_GUARDED = ("create", "open", "stage", "terminate", "concat", "declare_length")
_PASSED_ON = ("get", "update", "finish", "expired", "read", "redirect", "uploads", "audit")

#: Vanished uploads are looked for among so many at a time: each costs a `get`.
_LOOKED_AT = 50


class LimitedStore:
    """Wraps a store and refuses with StoreFull (507) what would make its uploads larger than `limit` bytes together.

    A known length is set aside when the upload is created, an unknown one byte by byte as it arrives; a final
    upload counts like any other. Space becomes free when an upload is terminated, which is how expired ones end.
    Uploads that vanished otherwise (a crash, an operator) are noticed when a creation needs the space, `grace`
    seconds after they were last seen at the earliest. One whose bytes the app moved away counts until it is removed.

    `shares` tells who uses how much: a `FileShares` on a path that all processes name, or anything else with its
    methods. Without it the cap holds for this process alone. Uploads that were there before count after `count`.
    The wrapper has the capabilities of its store, in the store's colour, and every other attribute of it.
    """

    def __init__(self, store: DataStore, limit: int, *, shares: Shares | None = None, grace: float = 3600.0) -> None:
        if limit < 0:
            raise ValueError("LimitedStore.limit is bytes and must not be negative")
        self.store = store
        self.limit = limit
        self.shares = shares or FileShares(":memory:")
        self._grace = grace
        for name in _GUARDED:
            method = getattr(store, name, None)
            if callable(method):
                setattr(self, name, _in_colour_of(method, getattr(self, "_" + name)))
        for name in _PASSED_ON:
            if callable(getattr(store, name, None)):
                setattr(self, name, getattr(store, name))

    def __getattr__(self, name: str) -> Any:
        if name == "store":
            raise AttributeError(name)
        return getattr(self.store, name)

    def count(self, *, again: bool = False) -> int:
        """Set aside what uploads take that were there before, be it more than `limit`; return how many were new.

        Does nothing where `shares` were counted once, unless `again`: then those of a time without a limit are
        found too. Blocks while it reads every record. Raises TypeError for a store that cannot list; StoreError.
        """
        if self.shares.is_counted and not again:
            return 0
        uploads: Callable[[], Iterable[UploadInfo]] | None = getattr(self.store, "uploads", None)
        if uploads is None:
            raise TypeError(f"{type(self.store).__name__} cannot list its uploads")
        new = sum(
            self.shares.adopt(info.id, max(info.length or 0, info.offset))
            for info in uploads()
            if info.state is not State.GONE
        )
        self.shares.set_counted()
        return new

    # These are replaced by each instance's own, in its store's colour; here they tell their types.
    def create(self, info: UploadInfo, /) -> MaybeAwaitable[UploadInfo]:
        raise NotImplementedError

    def get(self, upload_id: str, /) -> MaybeAwaitable[UploadInfo]:
        raise NotImplementedError

    def update(self, info: UploadInfo, /) -> MaybeAwaitable[UploadInfo]:
        raise NotImplementedError

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MaybeAwaitable[Writer]:
        raise NotImplementedError

    def finish(self, info: UploadInfo, /) -> MaybeAwaitable[None]:
        raise NotImplementedError

    async def _create(self, info: UploadInfo, /) -> UploadInfo:
        before = self.shares.share(info.id)
        await self._reserve(info.id, info.length or 0)
        try:
            return await _settled(self.store.create(info))
        except BaseException:
            # Another upload of this id keeps what it has.
            self._restore(info.id, before)
            raise

    async def _open(self, info: UploadInfo, /, *, fence: int | None) -> Writer:
        return cast("Writer", self._limited(info, await _settled(self.store.open(info, fence=fence))))

    async def _stage(self, info: UploadInfo, /, *, fence: int | None) -> StagedWriter:
        stager = cast("Stager", self.store)
        return cast("StagedWriter", self._limited(info, await _settled(stager.stage(info, fence=fence))))

    async def _terminate(self, info: UploadInfo, /) -> None:
        await _settled(cast("Terminater", self.store).terminate(info))
        self.shares.release(info.id)

    async def _concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        await self._reserve(info.id, max(self.shares.share(info.id), sum(part.length or 0 for part in parts)))
        return await _settled(cast("Concater", self.store).concat(info, parts))

    async def _declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        before = self.shares.share(info.id)
        await self._reserve(info.id, max(length, before))
        try:
            return await _settled(cast("LengthDeferrer", self.store).declare_length(info, length))
        except BaseException:
            self._restore(info.id, before)
            raise

    def _limited(self, info: UploadInfo, writer: Any) -> Any:
        """The writer as it is where the length is set aside already, so that kernel moves stay possible."""
        if info.length is not None and self.shares.share(info.id) >= info.length:
            return writer
        return LimitedWriter(self, info, writer)

    async def _reserve(self, upload_id: str, size: int) -> None:
        """Set `size` bytes aside for an upload. Raises StoreFull."""
        while not self.shares.reserve(upload_id, size, self.limit):
            if not await self._forget_vanished():
                raise StoreFull

    async def _forget_vanished(self) -> bool:
        """Whether any of those not seen for longest was gone."""
        if inspect.iscoroutinefunction(self.store.get) is not inspect.iscoroutinefunction(self.store.create):
            return False
        found = False
        for upload_id in self.shares.unseen(self._grace, _LOOKED_AT):
            try:
                await _settled(self.store.get(upload_id))
            except UploadNotFound:
                self.shares.release(upload_id)
                found = True
        return found

    def _restore(self, upload_id: str, size: int) -> None:
        if size:
            self.shares.reserve(upload_id, size, self.limit)
        else:
            self.shares.release(upload_id)


class LimitedWriter:
    """Sets bytes aside before it hands them on, for an upload whose length is not known."""

    def __init__(self, limited: LimitedStore, info: UploadInfo, writer: Any) -> None:
        self._limited = limited
        self._id = info.id
        self._end = info.offset
        self._writer = writer
        for name in ("write", "close", "discard"):
            method = getattr(writer, name, None)
            if callable(method):
                setattr(self, name, _in_colour_of(method, getattr(self, "_" + name)))
        for name in ("flush", "abandon"):  # no more bytes than before
            if callable(getattr(writer, name, None)):
                setattr(self, name, getattr(writer, name))

    def write(self, chunks: Sequence[bytes], /) -> MaybeAwaitable[None]:
        raise NotImplementedError

    def close(self) -> MaybeAwaitable[int]:
        raise NotImplementedError

    async def _write(self, chunks: Sequence[bytes], /) -> None:
        end = self._end + sum(map(len, chunks))
        shares = self._limited.shares
        if not shares.reserve(self._id, max(end, shares.share(self._id)), self._limited.limit):
            raise StoreFull
        self._end = end
        await _settled(self._writer.write(chunks))

    async def _close(self) -> int:
        return await _settled(cast("MaybeAwaitable[int]", self._writer.close()))

    async def _discard(self) -> None:
        await _settled(self._writer.discard())


async def _settled(value: MaybeAwaitable[T]) -> T:
    return await value if isinstance(value, Awaitable) else value  # pyright: ignore[reportReturnType]


def _in_colour_of(method: Callable[..., object], core: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Any]:
    """`core` as it is beside an `async def` method, else as a plain function: then nothing in it suspends."""
    if inspect.iscoroutinefunction(method):
        return core

    @wraps(core)
    def plain(*args: Any, **kwargs: Any) -> T:
        coroutine = core(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return cast("T", end.value)
        coroutine.close()
        raise RuntimeError("a member of another colour was called where none may be")

    # Without this, wraps makes it look like the coroutine function it wraps.
    del plain.__wrapped__
    return plain
