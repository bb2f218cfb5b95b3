"""FileStore: the suite in both colours and with every durability."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuspy_server.models import UploadInfo
from tuspy_server.stores.file import FileStore
from tuspy_server.testing import AsyncStore, StoreSuite


class TestFileStore(StoreSuite):
    @pytest.fixture
    def store(self, memory_path: Path) -> FileStore:
        return FileStore(memory_path)


class TestFileStoreInAsync(StoreSuite):
    @pytest.fixture
    def store(self, memory_path: Path) -> AsyncStore:
        return AsyncStore(FileStore(memory_path))


class TestFileStoreThatPromisesNothing(StoreSuite):
    @pytest.fixture
    def store(self, memory_path: Path) -> FileStore:
        return FileStore(memory_path, durability="none")


class TestFileStoreThatPromisesAll(StoreSuite):
    @pytest.fixture
    def store(self, memory_path: Path) -> FileStore:
        return FileStore(memory_path, durability="always", path_template="{created:%Y/%m}/{id}")


def test_a_full_upload_is_finished_though_a_staged_body_never_ended(tmp_path: Path) -> None:
    store = FileStore(tmp_path, durability="finish")
    info = store.create(UploadInfo(id="staged", length=0))
    store.stage(info, fence=None).write([b"never closed"])
    restarted = FileStore(tmp_path, durability="finish")
    restarted.finish(restarted.get("staged"))
    assert restarted.path(info).read_bytes() == b""
