"""PostgresLocker over a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server, binary
from tests.servers.ports import free_port
from tuspy_server.testing.locker_processes import MakeLocker

psycopg = pytest.importorskip("psycopg")

from tuspy_server.lockers.postgres import PostgresLocker  # noqa: E402

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
PLACES = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


def postgres_server(directory: Path, port: int, environment: Mapping[str, str] | None = None) -> Server:
    """The server refuses to run as root; its own user does instead, in a directory that this user can reach."""
    initdb, postgres = binary("initdb", *PLACES), binary("postgres", *PLACES)
    user = "postgres" if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(directory, user)
    data = str(directory / "data")
    subprocess.run(
        [initdb, "-D", data, "-A", "trust", "-U", "postgres", "-N"],
        check=True, user=user, cwd="/", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(directory), "fsync": "off"}
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command = [postgres, "-D", data, "-p", str(port), *settings]
    ready = partial(accepts, conninfo_of(port))
    return Server(command, port, directory / "log", user=user, environment=environment, ready=ready)


def conninfo_of(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=postgres dbname=postgres"


def accepts(conninfo: str) -> bool:
    try:
        with psycopg.connect(conninfo):
            return True
    except psycopg.OperationalError:
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory), free_port()) as server:
        yield server


class TestPostgresLocker(LeasedSuite):
    handover_limit = 0.2
    keeps_locks_over_restart = True

    @pytest.fixture
    def make_locker(self, server: Server, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(
            PostgresLocker, conninfo_of(server.port), lease=self.lease, table=f"t{abs(hash(request.node.name))}"
        )


def nothing() -> None: ...


@pytest.mark.skipif(not FAKETIME, reason="faketime is not installed")
def test_the_databases_clock_may_jump() -> None:
    """Forward: a lease ends early, and its holder hears of it. Back: tokens grow on."""
    with tempfile.TemporaryDirectory() as directory:
        clock = Path(directory) / "clock"
        clock.write_text("+0")
        fake = {
            "LD_PRELOAD": str(FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        port = free_port()
        with postgres_server(Path(directory), port, fake):
            locker = PostgresLocker(conninfo_of(port), lease=3.0)
            other = PostgresLocker(conninfo_of(port), lease=3.0)
            lost = threading.Event()
            first = locker.try_lock("a", nothing, lost.set)
            assert first is not None
            clock.write_text("+3600")
            second = other.try_lock("a", nothing, nothing)
            assert second is not None
            assert lost.wait(3)
            second.release()
            clock.write_text("-3600")
            third = locker.try_lock("a", nothing, nothing)
            assert third is not None
            tokens = [lock.token or 0 for lock in (first, second, third)]
            assert tokens == sorted(set(tokens))
            third.release()


def test_the_schema_can_be_made_beforehand(server: Server) -> None:
    with psycopg.connect(conninfo_of(server.port), autocommit=True) as connection:
        for statement in PostgresLocker.schema("beforehand").split(";"):
            connection.execute(statement)
    locker = PostgresLocker(conninfo_of(server.port), table="beforehand")
    lock = locker.try_lock("a", nothing, nothing)
    assert lock is not None
    lock.release()


@pytest.mark.parametrize("table", ["", "Upper", "a;b", "x" * 41, "public.locks"])
def test_a_table_name_that_needs_quotes_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        PostgresLocker(table=table)
