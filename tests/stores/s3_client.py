"""An upload's life as the engine and a stubborn client lead it, with the promises checked at every step."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

from tuspy_server.errors import StoreError, UploadExists
from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.stores.s3 import S3Store

T = TypeVar("T")

PATIENCE = 6
PIECE = 64


class BrokenPromise(AssertionError):
    """The store told an offset that it must not."""


def nobody(event: str, value: int) -> None:
    """Told of what happens to an upload: sent, acknowledged, ending."""


class Upload:
    """One upload of `data`; `fenced` gives every append the token of a lock, as lockers with tokens do.

    `tell` hears of every step before, and of every acknowledgement after it. With `upload_id` an upload that is
    there already is taken over, of which `sent` bytes may have arrived and `acknowledged` have.
    """

    def __init__(
        self,
        store: S3Store,
        data: bytes,
        *,
        fenced: bool = False,
        deferred: bool = False,
        kind: Kind = Kind.REGULAR,
        parts: Sequence[str] = (),
        tell: Callable[[str, int], None] = nobody,
        upload_id: str = "",
        sent: int = 0,
        acknowledged: int = 0,
    ) -> None:
        self.store = store
        self.data = data
        self.acknowledged = acknowledged
        self.tell = tell
        self._sent = sent
        self._fences: Iterator[int] | None = count(1000 if upload_id else 1) if fenced else None
        self._wanted = UploadInfo(id="", length=None if deferred else len(data), kind=kind, parts=tuple(parts))
        self.id = upload_id
        if not upload_id:
            self.create()

    def create(self) -> None:
        """As a client that tries again after a failed POST: under another id."""

        def once() -> str:
            return self.store.create(replace(self._wanted, id=secrets.token_hex(8))).id

        self.id = patiently(once)

    def head(self) -> UploadInfo:
        """The record, its offset within what was acknowledged and what was sent."""
        info = patiently(lambda: self.store.get(self.id))
        if not self.acknowledged <= info.offset <= self._sent:
            raise BrokenPromise(f"offset {info.offset}, acknowledged {self.acknowledged}, sent {self._sent}")
        return info

    def append_to(self, stop: int, *, staged: bool = False) -> None:
        """Resume until the first `stop` bytes are acknowledged."""
        for _ in range(PATIENCE):
            info = self.head()
            if info.offset >= stop:
                self.acknowledged = info.offset
                return
            try:
                self._append(info, stop, staged=staged)
            except StoreError:
                continue
        raise AssertionError(f"{stop} bytes were not acknowledged in {PATIENCE} attempts")

    def _append(self, info: UploadInfo, stop: int, *, staged: bool) -> None:
        fence = next(self._fences) if self._fences else None
        writer = self.store.stage(info, fence=fence) if staged else self.store.open(info, fence=fence)
        self._sent = max(self._sent, stop)
        self.tell("sent", self._sent)
        try:
            piece = max(PIECE, len(self.data) // 1000)
            for start in range(info.offset, stop, piece):
                writer.write([self.data[start : min(start + piece, stop)]])
        finally:
            # The engine closes a writer after a failed write too, and believes what close says.
            self.acknowledged = max(self.acknowledged, writer.close())
            self.tell("acknowledged", self.acknowledged)

    def declare(self) -> None:
        """Declare the length unless that has happened."""

        def once() -> None:
            info = self.head()
            if info.length is None:
                self.store.declare_length(info, len(self.data))

        patiently(once)

    def finish(self) -> None:
        """To COMPLETE, each step repeated from what the store says."""

        def once() -> None:
            info = self.head()
            if info.state is State.OPEN:
                info = self.store.update(replace(info, state=State.FINISHING))
            if info.state is State.FINISHING:
                self.store.finish(info)
                self.store.update(replace(info, state=State.COMPLETE))

        patiently(once)
        info = self.head()
        assert info.state is State.COMPLETE
        assert info.offset == len(self.data)

    def content(self) -> bytes:
        info = self.head()
        return patiently(lambda: b"".join(self.store.read(info, 0, len(self.data))))

    def concat(self, parts: Sequence[Upload]) -> None:
        """Assemble this final upload."""

        def once() -> None:
            sources = [part.head() for part in parts]
            info = self.store.concat(self.store.get(self.id), sources)
            assert info.offset == len(self.data)

        self._sent = len(self.data)
        self.tell("sent", self._sent)
        patiently(once)

    def terminate(self) -> None:
        self.tell("ending", 0)
        info = patiently(lambda: self.store.get(self.id))
        patiently(lambda: self.store.terminate(info))


def patiently(action: Callable[[], T]) -> T:
    """What `action` returns, tried again after trouble with the store, as clients and the sweep do."""
    for left in reversed(range(PATIENCE)):
        try:
            return action()
        except (StoreError, UploadExists):
            if not left:
                raise
    raise AssertionError("unreachable")
