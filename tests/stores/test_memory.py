"""MemoryStore, in both colours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.stores.listing import assert_lists_every_upload
from tuspy_server.errors import StoreFull
from tuspy_server.models import UploadInfo
from tuspy_server.stores.memory import MemoryStore
from tuspy_server.testing import AsyncStore, StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestMemoryStoreInAsync(StoreSuite):
    @pytest.fixture
    def store(self) -> AsyncStore:
        return AsyncStore(MemoryStore())


class TestMemoryStoreUnderTrio(TestMemoryStoreInAsync):
    event_loop = "trio"


def test_capacity_is_kept_and_freed() -> None:
    store = MemoryStore(capacity=4)
    info = store.create(UploadInfo(id="a", length=6))
    writer = store.open(info, fence=None)
    writer.write([b"abc"])
    with pytest.raises(StoreFull):
        writer.write([b"de"])
    assert writer.close() == 3
    store.terminate(info)
    other = store.open(store.create(UploadInfo(id="b", length=4)), fence=None)
    other.write([b"abcd"])
    assert other.close() == 4


def test_older_fence_is_refused() -> None:
    store = MemoryStore()
    info = store.create(UploadInfo(id="a", length=6))
    store.open(info, fence=7).close()
    with pytest.raises(Exception, match="changed"):
        store.open(replace(info), fence=6)


def test_every_upload_is_listed() -> None:
    assert_lists_every_upload(MemoryStore())
