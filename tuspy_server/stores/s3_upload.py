"""Appending to a multipart upload: full parts go up while the next bytes arrive, the rest follows on close."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tuspy_server.backends.s3 import Bucket, Missing
from tuspy_server.errors import RecordChanged, StoreError, StoreFailed, UploadGone
from tuspy_server.stores.s3_buffer import Buffer, new_buffer
from tuspy_server.stores.s3_parts import Plan
from tuspy_server.stores.s3_pool import Flight, PartPool
from tuspy_server.stores.s3_view import Mark, Part, Token, View, fence_of, mark_of

_log = logging.getLogger(__name__)

#: Superseded side objects are deleted so many at a time, since each deletion is a request of its own.
_STALE: Final = 16


@dataclass(frozen=True, slots=True)
class Target:
    """One multipart upload: where its object will be (`key`), where its side objects are (`folder`), its plan.

    `memory` bounds the bytes of its full parts, unless one is larger.
    """

    bucket: Bucket
    pool: PartPool
    folder: str
    key: str
    upload_id: str
    plan: Plan
    length: int | None
    memory: int
    spool: Path | None
    side_arguments: dict[str, str]

    def flight(self) -> Flight:
        return Flight(self.pool, max(1, min(self.pool.threads, self.memory // self.plan.base)))

    def upload_part(self, number: int, body: Any, size: int) -> Part:
        """Store one part. Raises UploadGone once the multipart upload is no more."""
        try:
            etag = self.bucket.write("upload_part", Key=self.key, UploadId=self.upload_id, PartNumber=number, Body=body)
        except Missing as exc:
            raise UploadGone from exc
        return Part(number, size, etag)

    def put_mark(self, mark: Mark, body: Any = b"") -> None:
        self.bucket.put(self.folder + mark.name, body, **self.side_arguments)

    def get_tail(self, mark: Mark) -> bytes:
        """The bytes of a mark. Raises StoreFailed if they are not all there."""
        stored = self.bucket.get(self.folder + mark.name)
        if stored is None or len(stored.body) != mark.size:
            raise StoreFailed("the stored tail of the upload vanished or is short")
        return stored.body

    def names(self) -> tuple[str, ...]:
        """The side objects, without their folder."""
        return tuple(entry.key.removeprefix(self.folder) for entry in self.bucket.list(self.folder))


class S3Writer:
    """Appends after what `view` says is durable. `fenced` says that the lock's token is real: then a newer owner
    is looked for before anything is acknowledged."""

    def __init__(self, target: Target, view: View, token: Token, *, fenced: bool) -> None:
        self.target = target
        self._view = view
        self._token = token
        self._fenced = fenced
        self._flight = target.flight()
        self._number = len(view.parts) + 1
        self._start = view.parts_end
        self._buffer: Buffer | None = None
        self._room = 0
        self._sent: dict[int, Part] = {}
        self._broken = False
        self._reported: Exception | None = None
        self._closed = False
        self._offset = view.offset

    def write(self, chunks: Sequence[bytes], /) -> None:
        """Take bytes over, and wait while too many of this upload's parts are under way."""
        if self._closed or self._broken:
            raise StoreFailed("the writer is closed")
        self._broken = True
        for chunk in chunks:
            # The pieces are kept until their part is stored: those of a buffer that is reused would change.
            rest = memoryview(chunk if isinstance(chunk, bytes) else bytes(chunk))
            while rest:
                rest = self._fill(rest)
        self._raise_failure()
        self._broken = False

    def close(self) -> int:
        """Store what is left and the mark that vouches for all of it; the durable offset.

        An error that `write` has not raised yet is raised here; closing again then tells the offset.
        """
        if self._closed:
            return self._offset
        self._closed = True
        try:
            self._settle()
        finally:
            self._flight.wait()
            self._drop()
        self._raise_failure()
        return self._offset

    def _fill(self, rest: memoryview) -> memoryview:
        """Put into the current part what fits; the remainder."""
        buffer = self._buffer or self._begin()
        fitting = rest[: max(0, self._room)]
        if not fitting:
            raise StoreFailed("more bytes than the upload has room for")
        buffer.add(fitting)
        self._room -= len(fitting)
        if self._room == 0:
            self._send(buffer)
        return rest[len(fitting) :]

    def _begin(self) -> Buffer:
        target = self.target
        # Waited for here and not with a full part in hand: meanwhile the engine gathers the bytes of the next one.
        self._flight.wait_for_room()
        self._room = target.plan.full_size(self._number, self._start, target.length)
        tail = target.get_tail(self._view.tail) if self._has_old_tail and self._view.tail else b""
        buffer = new_buffer(target.spool)
        buffer.add(memoryview(tail))
        self._room -= len(tail)
        self._buffer = buffer
        return buffer

    @property
    def _has_old_tail(self) -> bool:
        """Whether the current part begins with the bytes of the tail that was found."""
        return self._view.tail is not None and self._number == len(self._view.parts) + 1

    def _send(self, buffer: Buffer) -> None:
        number, size, vouch = self._number, buffer.size, self._has_old_tail
        self._buffer = None
        self._number += 1
        self._start += size

        def upload() -> None:
            try:
                part = self.target.upload_part(number, buffer.body(), size)
                if vouch:
                    # The tail was acknowledged: say that this part takes its place before parts behind it count.
                    self.target.put_mark(mark_of((*self._view.parts, part), self._token, 0))
                self._sent[number] = part
            finally:
                buffer.drop()

        self._flight.launch(size, upload)

    def _settle(self) -> None:
        if self._broken:
            self._drop()
        if self._buffer is not None and self._goes_as_part(self._buffer):
            self._send(self._buffer)
        self._flight.wait()
        parts = self._stored_run()
        left = self._buffer if self._flight.failure is None else None
        if left is None and (len(parts) == len(self._view.parts) or not self._sent):
            return
        mark = mark_of(parts, self._token, left.size if left else 0)
        self.target.put_mark(mark, left.body() if left else b"")
        if self._fenced and max(map(fence_of, self.target.names()), default=0) > self._token[0]:
            raise RecordChanged
        self._offset = mark.end
        self._sweep(mark)

    def _goes_as_part(self, buffer: Buffer) -> bool:
        """Whether the bytes left become a part although it is not full: never below parts that lie beyond a gap,
        which fit behind a full one only."""
        if any(part.number >= self._number for part in self._view.beyond):
            return False
        plan, length = self.target.plan, self.target.length
        return plan.may_be_short(self._number, self._start, buffer.size, length)

    def _stored_run(self) -> list[Part]:
        """The parts without a gap, including those found beyond a gap that is filled now."""
        known = {part.number: part for part in self._view.beyond} if self._buffer is None else {}
        if self._flight.failure is not None:
            known = {}
        known |= self._sent
        run = list(self._view.parts)
        while (part := known.get(len(run) + 1)) is not None:
            run.append(part)
        return run

    def _sweep(self, mark: Mark) -> None:
        """Delete what `mark` supersedes, now and then. Left-overs are harmless, so a failure here is too."""
        stale = [name for name in self._view.names if name.startswith(("tail-", "owner-")) and name != mark.name]
        if len(stale) < _STALE:
            return
        try:
            self.target.bucket.delete([self.target.folder + name for name in stale])
        except StoreError:
            _log.warning("superseded side objects could not be deleted", exc_info=True)

    def _drop(self) -> None:
        if self._buffer is not None:
            self._buffer.drop()
            self._buffer = None

    def _raise_failure(self) -> None:
        failure = self._flight.failure
        if failure is not None and failure is not self._reported:
            self._reported = failure
            raise failure


class FullWriter:
    """The writer of an upload that has no byte left to come."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def write(self, chunks: Sequence[bytes], /) -> None:
        if any(chunks):
            raise StoreFailed("more bytes than the upload has room for")

    def close(self) -> int:
        return self._offset

    def discard(self) -> None:
        """Nothing was written."""
