"""LimitedStore: the cap holds, in both colours and among processes, and space comes back."""

from __future__ import annotations

import multiprocessing
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tuspy_server.composer import Composer
from tuspy_server.errors import RecordChanged, StoreFull, UploadExists
from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.stores.limited import LimitedStore
from tuspy_server.stores.limited_shares import FileShares
from tuspy_server.stores.memory import MemoryStore, MemoryWriter
from tuspy_server.testing import AsyncStore, StoreSuite

ROOMY = 1 << 62


class TestLimitedStore(StoreSuite):
    @pytest.fixture
    def store(self) -> LimitedStore:
        return LimitedStore(MemoryStore(), ROOMY)


class TestLimitedStoreInAsync(StoreSuite):
    @pytest.fixture
    def store(self) -> LimitedStore:
        return LimitedStore(AsyncStore(MemoryStore()), ROOMY)


class TestLimitedStoreUnderTrio(TestLimitedStoreInAsync):
    event_loop = "trio"


class Plain:
    """A LimitedStore of `def` methods whose results need no settling."""

    def __init__(self, limit: int, store: MemoryStore | None = None, shares: FileShares | None = None) -> None:
        self.inner = store or MemoryStore()
        self.store = LimitedStore(self.inner, limit, shares=shares, grace=100)

    def create(self, length: int | None, **fields: object) -> UploadInfo:
        wanted = UploadInfo(id=secrets.token_hex(8), length=length)
        info = self.store.create(replace(wanted, **fields))  # type: ignore[arg-type]
        assert isinstance(info, UploadInfo)
        return info

    def append(self, info: UploadInfo, data: bytes) -> UploadInfo:
        writer = self.store.open(info, fence=None)
        assert not hasattr(writer, "__await__")
        writer.write([data])
        offset = writer.close()
        assert isinstance(offset, int)
        return replace(info, offset=offset)

    def terminate(self, info: UploadInfo) -> None:
        self.store.terminate(info)


def test_known_lengths_are_set_aside_at_creation() -> None:
    plain = Plain(10)
    plain.create(6)
    with pytest.raises(StoreFull):
        plain.create(5)
    plain.create(4)
    assert plain.store.shares.used() == 10


def test_unknown_length_is_counted_as_it_arrives() -> None:
    plain = Plain(10)
    info = plain.append(plain.create(None), b"abcdef")
    plain.create(3)
    writer = plain.store.open(info, fence=None)
    assert not hasattr(writer, "__await__")
    with pytest.raises(StoreFull):
        writer.write([b"gh"])
    assert writer.close() == 6
    assert plain.append(info, b"g").offset == 7


def test_declared_length_must_fit_and_changes_nothing_if_it_does_not() -> None:
    plain = Plain(10)
    info = plain.append(plain.create(None), b"abc")
    with pytest.raises(StoreFull):
        plain.store.declare_length(info, 11)
    plain.store.declare_length(info, 10)
    with pytest.raises(RecordChanged):
        plain.store.declare_length(info, 4)
    assert plain.store.shares.used() == 10


def test_terminated_upload_frees_its_space() -> None:
    plain = Plain(10)
    info = plain.create(10)
    expires = datetime.now(UTC) + timedelta(hours=1)
    plain.terminate(replace(info, state=State.GONE, expires=expires))
    assert plain.store.shares.used() == 0
    plain.create(10)


def test_final_upload_counts_beside_its_parts() -> None:
    plain = Plain(9)
    parts = [plain.append(plain.create(3, kind=Kind.PARTIAL), b"abc") for _ in range(2)]
    final = plain.create(None, kind=Kind.FINAL)
    with pytest.raises(StoreFull):
        plain.store.concat(final, parts)
    plain.store.concat(final, parts[:1])
    assert plain.store.shares.used() == 9


def test_second_upload_of_an_id_leaves_the_firsts_share() -> None:
    plain = Plain(10)
    info = plain.create(4)
    with pytest.raises(UploadExists):
        plain.store.create(replace(info, length=10))
    assert plain.store.shares.used() == 4


def test_vanished_uploads_are_forgotten_when_the_space_is_needed() -> None:
    now = [1000.0]
    plain = Plain(10, shares=FileShares(":memory:", clock=lambda: now[0]))
    plain.inner.terminate(plain.create(10))
    with pytest.raises(StoreFull):
        plain.create(1)
    now[0] += 101
    plain.create(10)


def test_writer_of_a_known_length_is_the_stores_own() -> None:
    plain = Plain(10)
    assert isinstance(plain.store.open(plain.create(4), fence=None), MemoryWriter)


def test_wrapper_has_the_capabilities_and_colour_of_its_store() -> None:
    class Bare:
        finishes = False
        create = get = update = open = finish = MemoryStore.get

    limited = LimitedStore(Bare(), 1)  # type: ignore[arg-type]
    assert not hasattr(limited, "terminate")
    assert not limited.finishes
    assert Composer(LimitedStore(MemoryStore(), 1)).is_blocking
    composer = Composer(LimitedStore(AsyncStore(MemoryStore()), 1), locker=Composer(MemoryStore()).locker)
    assert not composer.is_blocking
    assert composer.extensions == Composer(MemoryStore()).extensions


def test_limit_is_not_negative() -> None:
    with pytest.raises(ValueError, match="bytes"):
        LimitedStore(MemoryStore(), -1)


def reserve_as_often_as_possible(path: Path, name: str) -> int:
    shares = FileShares(path)
    return sum(shares.reserve(f"{name}-{turn}", 7, 1000) for turn in range(100))


def test_processes_share_one_cap(tmp_path: Path) -> None:
    path = tmp_path / "shares" / "db"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        granted = pool.starmap(reserve_as_often_as_possible, [(path, str(n)) for n in range(3)])
    assert sum(granted) == 1000 // 7
    assert FileShares(path).used() == 7 * sum(granted)
