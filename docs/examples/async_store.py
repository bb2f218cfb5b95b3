"""A store whose methods are `async def`: uploads in a SQLite database, by aiosqlite.

uvicorn --factory async_store:create_app
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence

import aiosqlite

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
READ = "SELECT start, bytes FROM pieces WHERE id = ? AND start < ? AND start + length(bytes) > ? ORDER BY start"


class AsyncSQLiteStore:
    default_locker = "tuspy_server.lockers.memory:MemoryLocker"

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: aiosqlite.Connection | None = None

    async def connected(self) -> aiosqlite.Connection:
        """One connection for all requests, made on the loop of the first."""
        if self._found is None:
            self._found = await aiosqlite.connect(self._path, isolation_level=None)
            await self._found.executescript(TABLES)
        return self._found

    async def close(self) -> None:
        if self._found is not None:
            await self._found.close()

    async def create(self, info: UploadInfo, /) -> UploadInfo:
        database = await self.connected()
        try:
            await database.execute("INSERT INTO uploads VALUES (?, ?, 1)", (ascii(info.id), encode(info)))
        except sqlite3.IntegrityError:
            raise UploadExists from None
        return await self.get(info.id)

    async def get(self, upload_id: str, /) -> UploadInfo:
        database = await self.connected()
        async with database.execute(GET, (ascii(upload_id),)) as found:
            row = await found.fetchone()
        if row is None:
            raise UploadNotFound
        fields = decode(row[0])
        expires = moment(fields["expires"]) if "expires" in fields else None
        return build(fields, offset=row[2], revision=str(row[1]), expires=expires)

    async def update(self, info: UploadInfo, /) -> UploadInfo:
        await self.get(info.id)
        database = await self.connected()
        async with database.execute(UPDATE, (encode(info), ascii(info.id), info.revision)) as done:
            if done.rowcount == 0:
                raise RecordChanged
        return await self.get(info.id)

    async def open(self, info: UploadInfo, /, *, fence: int | None) -> AsyncSQLiteWriter:
        if (await self.get(info.id)).offset != info.offset:
            raise RecordChanged
        return AsyncSQLiteWriter(await self.connected(), info)

    async def finish(self, info: UploadInfo, /) -> None:
        """Every byte is in the database already."""

    async def read(self, info: UploadInfo, start: int, stop: int, /) -> AsyncIterator[bytes]:
        database = await self.connected()
        async with database.execute(READ, (ascii(info.id), stop, start)) as found:
            async for first, data in found:
                yield data[max(start - first, 0) : stop - first]


class AsyncSQLiteWriter:
    def __init__(self, database: aiosqlite.Connection, info: UploadInfo) -> None:
        self._database = database
        self._id = info.id
        self._offset = info.offset

    async def write(self, chunks: Sequence[bytes], /) -> None:
        data = b"".join(chunks)
        try:
            if data:
                piece = (ascii(self._id), self._offset, data)
                await self._database.execute("INSERT INTO pieces VALUES (?, ?, ?)", piece)
        except sqlite3.IntegrityError:
            raise RecordChanged from None  # somebody else went on here
        self._offset += len(data)

    async def close(self) -> int:
        return self._offset


def create_app() -> ASGIApp:
    return ASGIApp(AsyncSQLiteStore("uploads.sqlite3"), Config(base_path="/files"))
