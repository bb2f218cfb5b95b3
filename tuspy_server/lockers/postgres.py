"""Leased locks in a PostgreSQL table (9.5 or newer), also behind a pooler for everything but release requests."""

from __future__ import annotations

import re
import selectors
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import psycopg
from psycopg.pq import ExecStatus, PGconn, PollingStatus

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout

T = TypeVar("T")
Row = tuple[str | None, ...]

_IDLE_CONNECTIONS = 8
_LISTEN_TIMEOUT = 1.0
_POLLED_EVENTS: dict[int, int] = {
    PollingStatus.READING: selectors.EVENT_READ,
    PollingStatus.WRITING: selectors.EVENT_WRITE,
}

# One waits for another here, since two CREATE IF NOT EXISTS at the same time may fail.
_CREATE = """
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('{table}'));
CREATE TABLE IF NOT EXISTS {table} (name text PRIMARY KEY, owner text NOT NULL, expires timestamptz NOT NULL);
CREATE SEQUENCE IF NOT EXISTS {table}_token;
COMMIT
"""
# The token is drawn once the row is ours, so that tokens of one upload grow in the order of its holders.
_ACQUIRE = """
WITH taken AS (
    INSERT INTO {table} AS held (name, owner, expires)
    VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 second')
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
    WHERE held.expires <= clock_timestamp() OR held.owner = excluded.owner
    RETURNING name
)
SELECT nextval('{table}_token') FROM taken
"""
_RENEW = """
UPDATE {table} AS held SET expires = clock_timestamp() + $3::float8 * interval '1 second'
FROM unnest($1::text[], $2::text[]) AS ours (name, owner)
WHERE held.name = ours.name AND held.owner = ours.owner
RETURNING held.owner
"""
_RELEASE = "DELETE FROM {table} WHERE name = $1 AND owner = $2"
_REQUEST = """
SELECT pg_notify('{table}_' || split_part(owner, '-', 1), owner) FROM {table}
WHERE name = $1 AND expires > clock_timestamp()
"""
_SWEEP = "DELETE FROM {table} WHERE expires < clock_timestamp() - interval '1 hour'"


class PostgresLocker(LeasedLocker):
    """Locks shared by all servers that use one database.

    `conninfo` is a libpq connection string or URL. The table, and a sequence for the tokens, are made on first
    use, or by whoever has the right to: see `schema`. A lock is a row with the time at which its lease ends,
    by the database's clock: setting that clock forward ends leases early, which the holders notice when they
    renew and stores by the token. No transaction or session lasts longer than a statement, except that each
    process listens on a connection of its own (LISTEN), which must not go through a pooler in transaction mode.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        lease: float = 10.0,
        retry_interval: float = 0.05,
        table: str = "tus_locks",
    ) -> None:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", table):
            raise ValueError("table is a plain name in lower case of at most 40 characters")
        service = _PostgresService(conninfo, table, network_timeout(lease))
        super().__init__(service, lease=lease, retry_interval=retry_interval)

    @staticmethod
    def schema(table: str = "tus_locks") -> str:
        """SQL that makes what the locker needs, for databases where it may not do so itself."""
        return _CREATE.format(table=table).strip()


class _PostgresService:
    def __init__(self, conninfo: str, table: str, timeout: float) -> None:
        self._conninfo = conninfo
        self._table = table
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._idle: list[_Connection] = []
        self._listening: _Connection | None = None

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        rows = self._query(_ACQUIRE, lock_name(upload_id), owner, str(lease))
        return Grant(int(rows[0][0] or 0)) if rows else None

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        names = _array(lock_name(upload_id) for upload_id in held.values())
        ours = {row[0] for row in self._query(_RENEW, names, _array(held), str(lease))}
        return {owner: owner in ours for owner in held}

    def release(self, upload_id: str, owner: str, /) -> None:
        self._query(_RELEASE, lock_name(upload_id), owner)

    def request(self, upload_id: str, /) -> None:
        self._query(_REQUEST, lock_name(upload_id))

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        try:
            if self._listening is None:
                listening = _Connection(self._conninfo, self._timeout)
                listening.query(f"LISTEN {self._table}_{process}", [])
                listening.query(_SWEEP.format(table=self._table), [])
                self._listening = listening
            return self._listening.notifications(_LISTEN_TIMEOUT)
        except (psycopg.Error, OSError) as exc:
            if self._listening is not None:
                self._listening.close()
            self._listening = None
            raise LockerUnavailable from exc

    def forget(self) -> None:
        self._mutex = threading.Lock()
        self._idle = []
        self._listening = None

    def _query(self, statement: str, *parameters: str) -> list[Row]:
        text = statement.format(table=self._table)
        try:
            return self._on_connection(lambda connection: connection.query(text, parameters))
        except psycopg.errors.UndefinedTable:
            self._create_table()
            return self._query(statement, *parameters)

    def _create_table(self) -> None:
        self._on_connection(lambda connection: connection.script(_CREATE.format(table=self._table)))

    def _on_connection(self, action: Callable[[_Connection], T]) -> T:
        """Run it on a kept connection; those that broke meanwhile, as all do when the server restarts, are replaced.
        It may run twice, though not after a timeout."""
        while True:
            with self._mutex:
                kept = self._idle.pop() if self._idle else None
            try:
                connection = kept or _Connection(self._conninfo, self._timeout)
                try:
                    result = action(connection)
                except BaseException:
                    connection.close()
                    raise
            except psycopg.errors.UndefinedTable:
                raise
            except (psycopg.Error, OSError) as exc:
                if kept is None or isinstance(exc, TimeoutError):
                    raise LockerUnavailable from exc
            else:
                self._keep(connection)
                return result

    def _keep(self, connection: _Connection) -> None:
        with self._mutex:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


class _Connection:
    """A connection whose statements end in time: psycopg itself waits for a silent server without a limit."""

    def __init__(self, conninfo: str, timeout: float) -> None:
        self._timeout = timeout
        self._pgconn = PGconn.connect_start(conninfo.encode())
        deadline = time.monotonic() + timeout
        while (status := self._pgconn.connect_poll()) != PollingStatus.OK:
            if status == PollingStatus.FAILED:
                raise psycopg.OperationalError(self._pgconn.get_error_message())
            self._wait(_POLLED_EVENTS[status], deadline)
        self._pgconn.nonblocking = 1

    def close(self) -> None:
        self._pgconn.finish()

    def query(self, statement: str, parameters: Sequence[str]) -> list[Row]:
        """Rows of one statement, as text. Raises psycopg.Error, TimeoutError."""
        self._pgconn.send_query_params(statement.encode(), [each.encode() for each in parameters])
        return self._rows()

    def script(self, statements: str) -> list[Row]:
        """Run several statements without parameters."""
        self._pgconn.send_query(statements.encode())
        return self._rows()

    def notifications(self, timeout: float) -> list[str]:
        """Payloads that have come, or come within `timeout` seconds."""
        self._pgconn.consume_input()
        payloads = self._payloads()
        if not payloads:
            with suppress(TimeoutError):
                self._wait(selectors.EVENT_READ, time.monotonic() + timeout)
                self._pgconn.consume_input()
                payloads = self._payloads()
        return payloads

    def _wait(self, events: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pgconn.socket, events)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("the database does not answer")

    def _payloads(self) -> list[str]:
        payloads = []
        while notification := self._pgconn.notifies():
            payloads.append(notification.extra.decode())
        return payloads

    def _rows(self) -> list[Row]:
        deadline = time.monotonic() + self._timeout
        rows: list[Row] = []
        failure: psycopg.Error | None = None
        while True:
            while self._pgconn.flush() or self._pgconn.is_busy():
                self._wait(selectors.EVENT_READ, deadline)
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None:
                break
            if result.status == ExecStatus.TUPLES_OK:
                columns = range(result.nfields)
                rows += [tuple(_text(result.get_value(row, c)) for c in columns) for row in range(result.ntuples)]
            elif result.status != ExecStatus.COMMAND_OK:
                failure = psycopg.errors.error_from_result(result)
        if failure is not None:
            raise failure
        return rows


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _array(words: Iterable[str]) -> str:
    """An array literal; quoted, since NULL would be one."""
    return "{" + ",".join(f'"{word}"' for word in words) + "}"
