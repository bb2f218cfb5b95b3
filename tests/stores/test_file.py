"""FileStore: the suite in both colours and with every durability."""

from __future__ import annotations

from pathlib import Path

import pytest

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
