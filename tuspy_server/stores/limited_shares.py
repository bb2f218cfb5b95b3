"""Who uses how much of a limited store: shares that processes agree on through one small database file."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tuspy_server.errors import StoreFailed, StoreUnavailable


class Shares(Protocol):
    """The bytes set aside for each upload. Every method is atomic among all that share the space."""

    def share(self, upload_id: str) -> int:
        """Bytes set aside for an upload; 0 for one that is not known."""
        ...

    def reserve(self, upload_id: str, size: int, limit: int) -> bool:
        """Make an upload's share `size` if all shares together then are at most `limit`; whether they are.

        Making a share smaller always succeeds.
        """
        ...

    def release(self, upload_id: str) -> None:
        """Forget an upload."""

    def used(self) -> int:
        """All shares together."""
        ...

    def older_than(self, seconds: float) -> list[str]:
        """Uploads that got their share so long ago, oldest first."""
        ...


class FileShares:
    """Shares in an SQLite file, for all threads and processes of one machine; ":memory:" for one process alone.

    They survive kill -9. After a power failure the last ones may be missing, which only makes room too early.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self._path = os.fspath(path)
        self._clock = clock
        self._mutex = threading.RLock()
        self._opened: tuple[int, sqlite3.Connection] | None = None

    def __del__(self) -> None:
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()

    def share(self, upload_id: str) -> int:
        with self._transaction() as database:
            return _share(database, upload_id)

    def reserve(self, upload_id: str, size: int, limit: int) -> bool:
        with self._transaction() as database:
            held = _share(database, upload_id)
            if size > held and _used(database) - held + size > limit:
                return False
            database.execute(
                "INSERT INTO shares VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET size = excluded.size",
                (upload_id, size, self._clock()),
            )
            return True

    def release(self, upload_id: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM shares WHERE id = ?", (upload_id,))

    def used(self) -> int:
        with self._transaction() as database:
            return _used(database)

    def older_than(self, seconds: float) -> list[str]:
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id FROM shares WHERE since <= ? ORDER BY since", (self._clock() - seconds,)
            ).fetchall()
        return [upload_id for (upload_id,) in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone among all processes. Raises StoreUnavailable, StoreFailed."""
        with self._mutex:
            try:
                database = self._database()
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
                database.execute("COMMIT")
            except sqlite3.OperationalError as exc:
                raise StoreUnavailable("the shares of the store's space cannot be read") from exc
            except sqlite3.Error as exc:
                raise StoreFailed("the shares of the store's space are unreadable") from exc

    def _database(self) -> sqlite3.Connection:
        """This process's connection: SQLite's do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            if self._path != ":memory:":
                Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("CREATE TABLE IF NOT EXISTS shares (id TEXT PRIMARY KEY, size INTEGER, since REAL)")
            self._opened = (os.getpid(), database)
        return self._opened[1]


def _share(database: sqlite3.Connection, upload_id: str) -> int:
    row = database.execute("SELECT size FROM shares WHERE id = ?", (upload_id,)).fetchone()
    return int(row[0]) if row else 0


def _used(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COALESCE(SUM(size), 0) FROM shares").fetchone()[0])
