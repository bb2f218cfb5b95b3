"""The protocols that stores and lockers implement.

Every method may be written with `def` or `async def`, method by method; parameters are positional except
`fence`. Blocking code belongs in `def`: it runs in a worker thread. Only `DataStore` is required of a store;
each further protocol it satisfies switches a feature on (see `tuspy_server.Composer`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from tuspy_server.models import UploadInfo

T = TypeVar("T")
MaybeAwaitable: TypeAlias = T | Awaitable[T]


@runtime_checkable
class Writer(Protocol):
    """Appends to one upload.

    Optional: `flush() -> int` makes what was written durable and returns that offset, so that it can be announced
    while the body is on its way. Optional pair for kernel moves: `fileno() -> int`, and `moved(size, /) -> None`
    for bytes that the kernel put at the file's end; without both the normal path is used. Optional: `abandon() -> None`
    lets go of what it holds, and writes nothing: called instead of `close` once the lock was lost."""

    @abstractmethod
    def write(self, chunks: Sequence[bytes], /) -> MaybeAwaitable[None]:
        """Take over 1..n pieces as one batch. May buffer; repeating short writes is the store's duty.

        Raises StoreError; whatever was stored before stays.
        """

    @abstractmethod
    def close(self) -> MaybeAwaitable[int]:
        """Flush and return the durable offset in bytes, the one the client is told.

        May be less than was written (S3 keeps whole parts only), also after `write` raised. Raises
        StoreError; safe to call twice.
        """


@runtime_checkable
class StagedWriter(Writer, Protocol):
    """A writer whose bytes count only once `close` returned; the other way to end it is `discard`."""

    @abstractmethod
    def discard(self) -> MaybeAwaitable[None]:
        """Drop everything written; the upload is as it was before. Safe to call twice and after `close`."""


class DataStore(Protocol):
    """Where uploads lie. Optional class attributes:

    - `finishes`: False says that `finish` does nothing, so that a full upload is complete without it (default True);
    - `slides`: True says that `get` moves `expires` by itself while `limits.sliding` (default False);
    - `fences`: False says that an open writer is not stopped once another one was opened, so that a process that stood
      still may put its bytes behind an answer of another's; locks that are leases are refused then (default True).
    """

    @abstractmethod
    def create(self, info: UploadInfo, /) -> MaybeAwaitable[UploadInfo]:
        """Make an empty upload, exclusively, and return it with `storage` and `revision` filled in.

        Raises UploadExists and leaves the existing one alone; StoreFull; StoreError.
        """

    @abstractmethod
    def get(self, upload_id: str, /) -> MaybeAwaitable[UploadInfo]:
        """The record with the true offset: bytes that `open` would append after.

        Raises UploadNotFound, UploadGone (a tombstone, or an unreadable record), StoreError.
        """

    @abstractmethod
    def update(self, info: UploadInfo, /) -> MaybeAwaitable[UploadInfo]:
        """Replace the record atomically, never the bytes; return it with its new revision.

        Raises RecordChanged if `info.revision` is stale, UploadNotFound, StoreError.
        """

    @abstractmethod
    def open(self, info: UploadInfo, /, *, fence: int | None) -> MaybeAwaitable[Writer]:
        """Append at `info.offset`. `fence` is the lock's token; a store that can refuses older ones.

        Raises UploadNotFound, RecordChanged if the bytes are not at that offset, StoreError.
        """

    @abstractmethod
    def finish(self, info: UploadInfo, /) -> MaybeAwaitable[None]:
        """All bytes are there: make them final. Idempotent; repeated after a crash.

        Raises SyncFailed where no retry may ever succeed, StoreError.
        """


@runtime_checkable
class Stager(Protocol):
    """Enables checksums: bytes that become part of the upload all at once or not at all."""

    @abstractmethod
    def stage(self, info: UploadInfo, /, *, fence: int | None) -> MaybeAwaitable[StagedWriter]:
        """Like `open`; `get` counts none of the bytes before `close` returned, also after kill -9."""


@runtime_checkable
class Terminater(Protocol):
    """Enables termination and expiration's removal."""

    @abstractmethod
    def terminate(self, info: UploadInfo, /) -> MaybeAwaitable[None]:
        """Remove the bytes, free the space. Idempotent.

        With `info.state` GONE and `info.expires` set a tombstone stays: `get` raises UploadGone, and `expired`
        lists it once its time has come. Otherwise no trace stays, nor does an earlier tombstone.
        """


@runtime_checkable
class Concater(Protocol):
    """Enables concatenation."""

    @abstractmethod
    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> MaybeAwaitable[UploadInfo]:
        """Fill `info` with the bytes of `parts` in order; they are locked, full, and stay as they are.

        Idempotent: starts over after a crash. Returns `info` with its offset. Raises StoreError; a part that
        vanished or is short is an error and never a shorter result.
        """


@runtime_checkable
class LengthDeferrer(Protocol):
    """Enables creation-defer-length."""

    @abstractmethod
    def declare_length(self, info: UploadInfo, length: int, /) -> MaybeAwaitable[UploadInfo]:
        """Record the length of an upload that had none; return the new record. Raises RecordChanged, StoreError."""


@runtime_checkable
class Expirer(Protocol):
    """Enables expiration."""

    @abstractmethod
    def expired(self, now: datetime, /) -> Iterable[UploadInfo] | AsyncIterable[UploadInfo]:
        """Uploads and tombstones whose `expires` is not after `now`; finished ones may be among them."""


@runtime_checkable
class Reader(Protocol):
    """Enables downloads."""

    @abstractmethod
    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes] | AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `stop`, in pieces of any size.

        Raises UploadGone if the bytes were moved away, StoreError.
        """


@runtime_checkable
class Redirecter(Protocol):
    """Enables downloads that the client fetches from the storage itself."""

    @abstractmethod
    def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> MaybeAwaitable[str | None]:
        """A URL from which anybody may fetch a finished upload for a while; None to send the bytes from here.

        `headers` are those under which no browser runs what a stranger uploaded: what the URL leads to must be
        served with their Content-Type and Content-Disposition, whatever the object itself is stored with. Raises
        StoreError.
        """


@runtime_checkable
class Lock(Protocol):
    """An upload held by this request."""

    @property
    @abstractmethod
    def token(self) -> int | None:
        """Fencing token: grows with every acquisition of this upload. None where the back end has none."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the lock is still held."""

    @abstractmethod
    def release(self) -> MaybeAwaitable[None]:
        """Let go. Safe to call twice and after the lock was lost."""


class Locker(Protocol):
    """Mutual exclusion of requests for one upload, with a way to ask the holder to let go.

    Optional attribute `lease`: seconds after which a holder that gives no sign of life loses its lock, be it alive or
    not. None, the default, says that it never does."""

    @property
    @abstractmethod
    def retry_interval(self) -> float:
        """Seconds between two attempts while another holds the upload."""

    @abstractmethod
    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> MaybeAwaitable[Lock | None]:
        """Take the lock if it is free, else None. Never waits for another holder.

        `on_release_requested` is called when somebody else wants it: stop reading, flush, close, release.
        `on_lost` when a lease ran out: never write again. Both may be called from any thread, more than once,
        and return at once. Raises LockerUnavailable.
        """

    @abstractmethod
    def request_release(self, upload_id: str, /) -> MaybeAwaitable[None]:
        """Ask whoever holds it, in any process, on any host. Repeated by the engine while it waits."""
