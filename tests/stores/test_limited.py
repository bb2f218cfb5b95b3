"""LimitedStore: the cap holds, in both colours and among processes, and space comes back."""

from __future__ import annotations

import multiprocessing
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tuspy_server.composer import Composer
from tuspy_server.errors import RecordChanged, StoreFull, UploadExists
from tuspy_server.models import Kind, State, UploadInfo
from tuspy_server.stores.auditing import Auditor, Lister
from tuspy_server.stores.file import FileStore
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


class Bare:
    """A store without any capability."""

    finishes = False
    create = get = update = open = finish = MemoryStore.get


class Plain:
    """A LimitedStore of `def` methods whose results need no settling."""

    def __init__(self, limit: int, store: MemoryStore | None = None, shares: FileShares | None = None) -> None:
        self.inner = store or MemoryStore()
        self.store = LimitedStore(self.inner, limit, shares=shares, grace=100)

    def create(self, length: int | None, **fields: Any) -> UploadInfo:
        wanted = UploadInfo(id=secrets.token_hex(8), length=length)
        info = self.store.create(replace(wanted, **fields))
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


def test_few_uploads_are_looked_for_at_a_time() -> None:
    """A full store with very many uploads must not read all of them for every creation that it refuses."""
    now, looked = [1000.0], []

    class Watched(MemoryStore):
        def get(self, upload_id: str, /) -> UploadInfo:
            looked.append(upload_id)
            return super().get(upload_id)

    plain = Plain(500, store=Watched(), shares=FileShares(":memory:", clock=lambda: now[0]))
    infos = [plain.create(1) for _ in range(500)]
    now[0] += 101
    for _ in range(2):
        with pytest.raises(StoreFull):
            plain.create(1)
    assert looked == sorted(set(looked), key=looked.index)
    assert 0 < len(looked) <= 100
    plain.inner.terminate(next(info for info in infos if info.id not in looked))
    for _ in range(10):
        with suppress(StoreFull):
            plain.create(1)
    assert len(plain.store.shares.unseen(0, 1000)) == 500


def test_uploads_of_before_count_even_beyond_the_limit(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for length, data in ((4, b"a"), (None, b"abc"), (8, b"")):
        made = store.create(UploadInfo(id=secrets.token_hex(16), length=length))
        writer = store.open(made, fence=None)
        writer.write([data])
        writer.close()
    store.terminate(replace(made, state=State.GONE, expires=datetime.now(UTC) + timedelta(hours=1)))
    limited = LimitedStore(store, 5)
    assert limited.count() == 2
    assert limited.shares.used() == 7
    with pytest.raises(StoreFull):
        limited.create(UploadInfo(id=secrets.token_hex(16), length=1))


def test_counting_is_done_once_unless_asked_for_again(tmp_path: Path) -> None:
    store, limited = FileStore(tmp_path), LimitedStore(FileStore(tmp_path), 5)
    assert limited.count() == 0
    store.create(UploadInfo(id="a" * 32, length=4))
    assert limited.count() == 0
    assert limited.count(again=True) == 1
    assert limited.count(again=True) == 0
    assert limited.shares.used() == 4


def test_what_cannot_be_listed_cannot_be_counted() -> None:
    with pytest.raises(TypeError, match="Bare cannot list"):
        LimitedStore(Bare(), 5).count()  # type: ignore[arg-type]  # has what is used


def test_wrapper_can_be_listed_and_verified_like_its_store(tmp_path: Path) -> None:
    limited = LimitedStore(FileStore(tmp_path), 5)
    assert isinstance(limited, Lister)
    assert isinstance(limited, Auditor)
    assert not isinstance(LimitedStore(MemoryStore(), 5), Auditor)


def test_the_sum_of_all_shares_follows_every_change() -> None:
    shares = FileShares(":memory:")
    for number in range(100):
        assert shares.adopt(f"u{number}", number)
    assert not shares.adopt("u7", 1000)
    shares.reserve("u0", 50, ROOMY)
    shares.release("u99")
    assert shares.used() == sum(range(1, 99)) + 50


def test_writer_of_a_known_length_is_the_stores_own() -> None:
    plain = Plain(10)
    assert isinstance(plain.store.open(plain.create(4), fence=None), MemoryWriter)


def test_wrapper_has_the_capabilities_and_colour_of_its_store() -> None:
    limited = LimitedStore(Bare(), 1)  # type: ignore[arg-type]  # has what is used
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
