"""The stores and the locker of docs/examples keep what every other must keep."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import BlockingPortal

from docs.examples.custom_locker import FlockLocker
from docs.examples.custom_store import SQLiteStore
from tests.docs.examples import EXAMPLES
from tuspy_server.interfaces import Reader
from tuspy_server.testing import LockerSuite, StoreSuite
from tuspy_server.testing.locker_processes import MakeLocker

if TYPE_CHECKING:
    from docs.examples.async_store import AsyncSQLiteStore


class TestCustomStore(StoreSuite):
    capabilities = frozenset({Reader})

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SQLiteStore]:
        store = SQLiteStore(str(tmp_path / "uploads.sqlite3"))
        yield store
        store.close()


class TestAsyncStore(StoreSuite):
    capabilities = frozenset({Reader})

    @pytest.fixture
    def store(self, tmp_path: Path, portal: BlockingPortal) -> Iterator[AsyncSQLiteStore]:
        pytest.importorskip("aiosqlite", reason="aiosqlite is not installed")
        from docs.examples.async_store import AsyncSQLiteStore

        store = AsyncSQLiteStore(str(tmp_path / "uploads.sqlite3"))
        yield store
        portal.call(store.close)


class TestCustomLocker(LockerSuite):
    @pytest.fixture
    def make_locker(self, tmp_path: Path) -> MakeLocker:
        return partial(FlockLocker, tmp_path)


def test_the_custom_store_has_less_than_40_lines() -> None:
    text = (EXAMPLES / "custom_store.py").read_text()
    (store,) = (node for node in ast.parse(text).body if getattr(node, "name", "") == "SQLiteStore")
    lines = text.splitlines()[store.lineno - 1 : store.end_lineno]
    assert sum(bool(line) for line in lines) < 40
