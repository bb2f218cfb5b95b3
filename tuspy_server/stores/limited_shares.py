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

    def adopt(self, upload_id: str, size: int) -> bool:
        """Give an upload that is not known a share, whatever the limit; whether it was not known."""
        ...

    def unseen(self, seconds: float, count: int) -> list[str]:
        """At most `count` uploads that nobody has looked for so long, longest first; they count as seen now."""
        ...

    @property
    def is_counted(self) -> bool:
        """Whether what was stored before has been adopted, all of it."""
        ...

    def set_counted(self) -> None:
        """Say so."""


_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS shares (id TEXT PRIMARY KEY, size INTEGER NOT NULL, seen REAL NOT NULL);
CREATE INDEX IF NOT EXISTS shares_by_seen ON shares (seen);
CREATE TABLE IF NOT EXISTS total (used INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT * FROM total);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON shares
    BEGIN UPDATE total SET used = used + new.size; END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE OF size ON shares
    BEGIN UPDATE total SET used = used + new.size - old.size; END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON shares
    BEGIN UPDATE total SET used = used - old.size; END;
COMMIT;
"""
_COUNTED = 1  # the file's user_version


class FileShares:
    """Shares in an SQLite file, for all threads and processes of one machine; ":memory:" for one process alone.

    They survive kill -9. After a power failure the last ones may be missing, which only makes room too early.
    The file must not lie on a network file system; two more stand beside it while it is in use.
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

    def adopt(self, upload_id: str, size: int) -> bool:
        with self._transaction() as database:
            row = (upload_id, size, self._clock())
            return database.execute("INSERT OR IGNORE INTO shares VALUES (?, ?, ?)", row).rowcount == 1

    def release(self, upload_id: str) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM shares WHERE id = ?", (upload_id,))

    def used(self) -> int:
        with self._transaction() as database:
            return _used(database)

    def unseen(self, seconds: float, count: int) -> list[str]:
        now = self._clock()
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id FROM shares WHERE seen <= ? ORDER BY seen LIMIT ?", (now - seconds, count)
            ).fetchall()
            database.executemany("UPDATE shares SET seen = ? WHERE id = ?", [(now, upload_id) for (upload_id,) in rows])
        return [upload_id for (upload_id,) in rows]

    @property
    def is_counted(self) -> bool:
        with self._transaction() as database:
            return bool(database.execute("PRAGMA user_version").fetchone()[0])

    def set_counted(self) -> None:
        with self._transaction() as database:
            database.execute(f"PRAGMA user_version = {_COUNTED}")

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
            self._opened = (os.getpid(), _opened(self._path))
        return self._opened[1]


def _opened(path: str) -> sqlite3.Connection:
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        # OFF would save 36 us of 145 for each change, but a power failure could then spoil the file
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _share(database: sqlite3.Connection, upload_id: str) -> int:
    row = database.execute("SELECT size FROM shares WHERE id = ?", (upload_id,)).fetchone()
    return int(row[0]) if row else 0


def _used(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT used FROM total").fetchone()[0])
