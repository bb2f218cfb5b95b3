"""A store of one's own: uploads in a SQLite database.

uvicorn --factory custom_store:create_app
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuspy_server import ASGIApp, Config, UploadInfo
from tuspy_server.errors import RecordChanged, UploadExists, UploadNotFound
from tuspy_server.stores.record import build, decode, encode, moment

TABLES = """
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, record BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pieces (id TEXT, start INTEGER, bytes BLOB NOT NULL, PRIMARY KEY (id, start));
"""
GET = """
SELECT record, revision, (SELECT coalesce(sum(length(bytes)), 0) FROM pieces WHERE pieces.id = uploads.id)
FROM uploads WHERE id = ?
"""
UPDATE = "UPDATE uploads SET record = ?, revision = revision + 1 WHERE id = ? AND revision = ?"


class SQLiteStore:
    default_locker = "tuspy_server.lockers.memory:MemoryLocker"

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(TABLES)

    def close(self) -> None:
        self._database.close()

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    def create(self, info: UploadInfo, /) -> UploadInfo:
        try:
            self.execute("INSERT INTO uploads VALUES (?, ?, 1)", ascii(info.id), encode(info))
        except sqlite3.IntegrityError:
            raise UploadExists from None
        return self.get(info.id)

    def get(self, upload_id: str, /) -> UploadInfo:
        row = self.execute(GET, ascii(upload_id)).fetchone()
        if row is None:
            raise UploadNotFound
        fields = decode(row[0])
        expires = moment(fields["expires"]) if "expires" in fields else None
        return build(fields, offset=row[2], revision=str(row[1]), expires=expires)

    def update(self, info: UploadInfo, /) -> UploadInfo:
        self.get(info.id)
        if self.execute(UPDATE, encode(info), ascii(info.id), info.revision).rowcount == 0:
            raise RecordChanged
        return self.get(info.id)

    def open(self, info: UploadInfo, /, *, fence: int | None) -> SQLiteWriter:
        if self.get(info.id).offset != info.offset:
            raise RecordChanged
        return SQLiteWriter(self, info.id, info.offset)

    def finish(self, info: UploadInfo, /) -> None:
        """Every byte is in the database already."""

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        found = self.execute("SELECT start, bytes FROM pieces WHERE id = ? ORDER BY start", ascii(info.id))
        for first, data in found:
            if first < stop and first + len(data) > start:
                yield data[max(start - first, 0) : stop - first]


@dataclass
class SQLiteWriter:
    store: SQLiteStore
    id: str
    offset: int

    def write(self, chunks: Sequence[bytes], /) -> None:
        data = b"".join(chunks)
        try:
            if data:
                self.store.execute("INSERT INTO pieces VALUES (?, ?, ?)", ascii(self.id), self.offset, data)
        except sqlite3.IntegrityError:
            raise RecordChanged from None  # somebody else went on here
        self.offset += len(data)

    def close(self) -> int:
        return self.offset


def create_app() -> ASGIApp:
    return ASGIApp(SQLiteStore("uploads.sqlite3"), Config(base_path="/files"))
