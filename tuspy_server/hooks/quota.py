"""A quota per user, kept in a SQLite file that the worker processes of one host share."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tuspy_server.errors import RejectUpload, StopUpload
from tuspy_server.hooks.transport import HookSet
from tuspy_server.models import HookEvent, Request, Response, State, UploadInfo

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    size INTEGER NOT NULL,
    until REAL
);
CREATE INDEX IF NOT EXISTS uploads_of_account ON uploads (account);
"""
_REFUSAL = "the quota of this account is used up"


class UserQuota:
    """Refuses uploads that would bring an account above `limit` bytes, a number or a callable by account.

    Use with `Hooks(**quota.hooks())`, after hooks that choose ids. An upload counts with its whole length from
    its creation until it is terminated, expires (unless sliding) or is given to `release`; parts of a
    concatenation and their final upload count each. One of unknown length is asked about again by every request
    that declares its length or the size of its content, before a byte is read (SEC5). A chunked body counts as it
    grows and is stopped beyond the limit: it may exceed it by what arrives in one `post_receive` interval;
    `Config(max_size=quota.remaining)` forbids that too. `account_of` names who pays, by default the request's
    principal; all requests without one share an account. A creation that failed is forgotten after
    `reservation_period` seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        limit: int | Callable[[str], int],
        *,
        account_of: Callable[[Request], str] = lambda request: request.principal or "",
        reservation_period: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = os.fspath(path)
        self._limit = limit
        self._account_of = account_of
        self._reservation_period = reservation_period
        self._clock = clock
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)

    def hooks(self) -> HookSet[Callable[[HookEvent], None]]:
        """The six hooks that keep the account book."""
        return {
            "pre_access": self._declare,
            "pre_create": self._reserve,
            "post_create": self._confirm,
            "post_receive": self._grow,
            "post_finish": self._settle,
            "post_terminate": self._remove,
        }

    def used(self, account: str) -> int:
        """Bytes that count for an account now."""
        with self._transaction() as connection:
            return self._used(connection, account, without="")

    def remaining(self, request: Request) -> int:
        """Bytes the request's account may still upload."""
        account = self._account_of(request)
        return max(self._limit_of(account) - self.used(account), 0)

    def release(self, upload_id: str) -> None:
        """Count an upload no longer, when the app has removed its file."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))

    def prune(self, is_there: Callable[[str], bool]) -> int:
        """Count uploads no longer that are not there any more; return how many. For what no hook tells."""
        with self._transaction() as connection:
            known = [str(row[0]) for row in connection.execute("SELECT id FROM uploads")]
        gone = [upload_id for upload_id in known if not is_there(upload_id)]
        for upload_id in gone:
            self.release(upload_id)
        return len(gone)

    def _reserve(self, event: HookEvent) -> None:
        info, account = event.upload, self._account_of(event.request)
        size, limit = _first_size(event), self._limit_of(account)
        with self._transaction() as connection:
            used = self._used(connection, account, without=info.id)
            if used + size > limit or (info.length is None and used >= limit):
                raise RejectUpload(_REFUSAL, status=413)
            # a final upload that is asked for again is there already and stays confirmed
            connection.execute(
                "INSERT OR IGNORE INTO uploads VALUES (?, ?, ?, ?)",
                (info.id, account, size, self._clock() + self._reservation_period),
            )

    def _declare(self, event: HookEvent) -> None:
        """What a request says the upload will be counts until the upload ends, even if the request fails."""
        info = event.upload
        if info.length is not None or info.state is not State.OPEN:
            return
        size = _declared_size(info, event.request)
        if size is None:
            return
        with self._transaction() as connection:
            row = connection.execute("SELECT account FROM uploads WHERE id = ?", (info.id,)).fetchone()
            account = self._account_of(event.request) if row is None else str(row[0])
            if self._used(connection, account, without=info.id) + size > self._limit_of(account):
                raise RejectUpload(_REFUSAL, status=413)
            connection.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, NULL) "
                "ON CONFLICT (id) DO UPDATE SET size = max(size, excluded.size)",
                (info.id, account, size),
            )

    def _confirm(self, event: HookEvent) -> None:
        self._write(event, _first_size(event))

    def _grow(self, event: HookEvent) -> None:
        info, account = event.upload, self._account_of(event.request)
        if info.length is not None:
            return
        self._write(event, info.offset)
        if self.used(account) > self._limit_of(account):
            self.release(info.id)
            raise StopUpload(Response(status=413, body=f"{_REFUSAL}\n".encode()), terminate=True)

    def _settle(self, event: HookEvent) -> None:
        self._write(event, event.upload.offset, is_finished=True)

    def _remove(self, event: HookEvent) -> None:
        self.release(event.upload.id)

    def _write(self, event: HookEvent, size: int, *, is_finished: bool = False) -> None:
        info = event.upload
        expires = None if is_finished or info.limits.sliding or info.expires is None else info.expires.timestamp()
        with self._transaction() as connection:
            # who pays was decided at creation, whoever sends the bytes
            connection.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET size = excluded.size, until = excluded.until",
                (info.id, self._account_of(event.request), size, expires),
            )

    def _used(self, connection: sqlite3.Connection, account: str, *, without: str) -> int:
        connection.execute("DELETE FROM uploads WHERE until < ?", (self._clock(),))
        query = "SELECT coalesce(sum(size), 0) FROM uploads WHERE account = ? AND id != ?"
        return int(connection.execute(query, (account, without)).fetchone()[0])

    def _limit_of(self, account: str) -> int:
        return self._limit(account) if callable(self._limit) else self._limit

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30, isolation_level=None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection


def _first_size(event: HookEvent) -> int:
    """What counts of a new upload: its length, else the content of its creation."""
    info = event.upload
    return info.length if info.length is not None else _declared_size(info, event.request) or 0


def _declared_size(info: UploadInfo, request: Request) -> int | None:
    """How large a request will make an upload of unknown length; None if it does not tell."""
    length, content = _number(request.header("upload-length")), _number(request.header("content-length"))
    if length is None and not content:
        return None
    return max(length or 0, info.offset + (content or 0))


def _number(value: str | None) -> int | None:
    """What a protocol reads as a length; other values are refused by it, or count as absent there as well."""
    digits = (value or "").partition(";")[0].strip(" \t")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
