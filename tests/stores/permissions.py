"""Every operation of a store and its default locker, each tried by somebody who lacks a permission."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from tests.servers.running import ROOT
from tuspy_server.composer import default_locker
from tuspy_server.errors import LockerUnavailable, StoreError
from tuspy_server.interfaces import Lock, Locker
from tuspy_server.models import State, UploadInfo

if TYPE_CHECKING:
    from tuspy_server.stores.ledger_store import LedgerStore
    from tuspy_server.stores.s3 import S3Store

PIECE = 100
DATA = bytes(n * 31 % 251 for n in range(5 * PIECE + 7))
HEARD = 5.0  # seconds; releases are asked for by polling

Store: TypeAlias = "LedgerStore | S3Store"

_ids = (f"u{n}" for n in count())


def page(name: str) -> dict[str, set[str]]:
    """The table of a store's page: by each permission, what fails without it."""
    text = (ROOT / "docs" / "stores" / name).read_text()
    rows = re.findall(r"^\| `([\w.:]+)`[^|]*\| (.*) \|$", text.partition("what fails without it")[2], re.MULTILINE)
    assert rows
    return {permission: {words.strip() for words in failing.split(",")} for permission, failing in rows}


@dataclass
class Trial:
    """`entitled` prepares, `poor` acts, both on the same uploads."""

    entitled: Store
    poor: Store

    def failing(self) -> set[str]:
        """The names of operations that are refused."""
        operations = {
            "creation": self.create,
            "append": self.append,
            "checksum": self.stage,
            "deferred length": self.declare_length,
            "HEAD": self.head,
            "finish": self.finish,
            "download": self.download,
            "concatenation": self.concat,
            "termination": self.terminate,
            "expiry": self.expire,
            "`tuspy-server uploads`": self.list,
            "lock": self.lock,
            "hand-over": self.hand_over,
        }
        return {name for name, operation in operations.items() if _is_refused(operation)}

    def create(self) -> None:
        self.poor.create(_new())

    def append(self) -> None:
        """Behind bytes that are too few for a piece."""
        _append(self.poor, _append(self.entitled, self.entitled.create(_new()), stop=PIECE // 3))

    def stage(self) -> None:
        _append(self.poor, self.entitled.create(_new()), staged=True)

    def declare_length(self) -> None:
        self.poor.declare_length(self.entitled.create(_new(length=None)), len(DATA))

    def head(self) -> None:
        info = _append(self.entitled, self.entitled.create(_new()))
        assert self.poor.get(info.id).offset == len(DATA)

    def finish(self) -> None:
        info = _append(self.entitled, self.entitled.create(_new()))
        _finish(self.poor, info)
        assert content(self.entitled, info) == DATA

    def download(self) -> None:
        assert content(self.poor, self._finished()) == DATA

    def concat(self) -> None:
        parts = [self._finished(), self._finished()]
        info = self.poor.concat(self.entitled.create(_new(length=2 * len(DATA))), parts)
        assert info.offset == 2 * len(DATA)

    def terminate(self) -> None:
        """Before and after the end, with and without a tombstone."""
        for info in (_append(self.entitled, self.entitled.create(_new())), self._finished()):
            grave = replace(info, state=State.GONE, expires=datetime.now(UTC) + timedelta(hours=1))
            self.poor.terminate(grave)
            self.poor.terminate(replace(grave, expires=None))

    def expire(self) -> None:
        past = datetime.now(UTC) - timedelta(hours=1)
        info = self.entitled.create(_new(expires=past))
        assert info.id in [found.id for found in self.poor.expired(datetime.now(UTC))]

    def list(self) -> None:
        info = self.entitled.create(_new())
        assert info.id in [found.id for found in self.poor.uploads()]

    def lock(self) -> None:
        """Each upload's first lock, and a later one."""
        upload = next(_ids)
        with _locker(self.poor) as locker:
            for _ in range(2):
                _held(locker, upload).release()

    def hand_over(self) -> None:
        """Who lacks the permission asks for a lock, and is asked for one."""
        for holds, asks in ((self.entitled, self.poor), (self.poor, self.entitled)):
            upload, asked = next(_ids), threading.Event()
            with _locker(holds) as holder, _locker(asks) as other:
                lock = _held(holder, upload, asked.set)
                try:
                    other.request_release(upload)
                    if not asked.wait(HEARD):
                        raise LockerUnavailable("the wish was not heard")
                finally:
                    lock.release()

    def _finished(self) -> UploadInfo:
        return _finish(self.entitled, _append(self.entitled, self.entitled.create(_new())))


def content(store: Store, info: UploadInfo) -> bytes:
    return b"".join(store.read(info, 0, info.length or 0))


def _is_refused(operation: Callable[[], None]) -> bool:
    try:
        operation()
    except (StoreError, LockerUnavailable):
        return True
    return False


def _new(*, length: int | None = len(DATA), expires: datetime | None = None) -> UploadInfo:
    return UploadInfo(id=next(_ids), length=length, expires=expires)


def _append(store: Store, info: UploadInfo, *, staged: bool = False, stop: int = len(DATA)) -> UploadInfo:
    writer = store.stage(info, fence=1) if staged else store.open(info, fence=1)
    for start in range(info.offset, stop, PIECE):
        writer.write([DATA[start : min(start + PIECE, stop)]])
    offset = writer.close()
    assert offset == stop
    return replace(info, offset=offset)


def _finish(store: Store, info: UploadInfo) -> UploadInfo:
    info = store.update(replace(info, state=State.FINISHING))
    store.finish(info)
    return store.update(replace(info, state=State.COMPLETE))


def _held(locker: Locker, upload: str, on_release_requested: Callable[[], None] = lambda: None) -> Lock:
    lock = locker.try_lock(upload, on_release_requested, lambda: None)
    if not isinstance(lock, Lock):
        raise LockerUnavailable("the lock could not be released before")
    return lock


@contextmanager
def _locker(store: Store) -> Iterator[Locker]:
    locker = default_locker(store)
    try:
        yield locker
    finally:
        close = getattr(locker, "close", None)
        if close is not None:
            close()
