"""What the parts of StoreSuite share: how uploads are made, filled and looked at."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tuspy_server.interfaces import Concater, DataStore, Expirer, LengthDeferrer, Reader, Stager, Terminater
from tuspy_server.models import UploadInfo
from tuspy_server.testing.settled import SettledStore

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

ALL_CAPABILITIES: frozenset[type] = frozenset({Stager, Terminater, Concater, LengthDeferrer, Expirer, Reader})

SET_BY_THE_STORE = {"offset", "storage", "revision"}

Test = TypeVar("Test", bound=Callable[..., None])


def needs(*capabilities: type) -> Callable[[Test], Test]:
    """Marks a test that is only there for stores with these capabilities."""

    def mark(test: Test) -> Test:
        test.capabilities = frozenset(capabilities)  # type: ignore[attr-defined]
        return test

    return mark


def same(left: UploadInfo, right: UploadInfo) -> bool:
    """Whether two records agree in everything that is not the store's own."""
    return all(getattr(left, f.name) == getattr(right, f.name) for f in fields(left) if f.name not in SET_BY_THE_STORE)


class SuiteBase:
    """Fixtures and helpers; see StoreSuite for what a subclass provides."""

    capabilities: ClassVar[frozenset[type]] = ALL_CAPABILITIES
    keeps_every_byte: ClassVar[bool] = True
    event_loop: ClassVar[str] = "asyncio"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in dir(cls):
            needed: frozenset[type] = getattr(getattr(cls, name, None), "capabilities", frozenset())
            if name.startswith("test_") and not needed <= cls.capabilities:
                setattr(cls, name, None)

    @pytest.fixture
    def portal(self) -> Iterator[BlockingPortal]:
        """The event loop that awaitables of the store run on; make clients that are bound to a loop here."""
        with start_blocking_portal(self.event_loop) as portal:
            yield portal

    @pytest.fixture
    def settled(self, store: DataStore, portal: BlockingPortal) -> SettledStore:
        return SettledStore(store, portal)

    def new(self, length: int | None = 10, **changes: Any) -> UploadInfo:
        """A record that is in no store yet."""
        return replace(UploadInfo(id=secrets.token_hex(16), length=length, created=NOW), **changes)

    def append(self, settled: SettledStore, info: UploadInfo, *chunks: bytes) -> UploadInfo:
        """Write one batch with a writer of its own and return `info` with the offset that `close` told."""
        writer = settled.open(info)
        writer.write(*chunks)
        return replace(info, offset=writer.close())

    def fill(self, settled: SettledStore, info: UploadInfo, data: bytes) -> UploadInfo:
        """Append until all of `data` is stored, as a client would that resumes."""
        while info.offset < len(data):
            before = info.offset
            info = self.append(settled, info, data[before:])
            assert info.offset > before, "an append of all the bytes that are left stored none"
        return info

    def stored(self, settled: SettledStore, data: bytes, **changes: Any) -> UploadInfo:
        """A new upload of exactly `data`, finished."""
        info = self.fill(settled, settled.create(self.new(len(data), **changes)), data)
        settled.finish(info)
        return info

    def content(self, settled: SettledStore, info: UploadInfo) -> bytes:
        """All bytes of a finished upload. Override it for a store without Reader."""
        return settled.read(info, 0, info.length or 0)

    def pieces(self, data: bytes, sizes: Sequence[int]) -> list[bytes]:
        """`data` cut into pieces of `sizes`, over and over."""
        found, start, turn = [], 0, 0
        while start < len(data):
            size = sizes[turn % len(sizes)]
            found.append(data[start : start + size])
            start, turn = start + size, turn + 1
        return found
