"""PostgresLocker over a real server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server, binary, free_port
from tuspy_server.testing.locker_processes import MakeLocker

psycopg = pytest.importorskip("psycopg")

from tuspy_server.lockers.postgres import PostgresLocker  # noqa: E402

PLACES = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


def postgres_server(directory: Path, port: int) -> Server:
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
    return Server(command, port, directory / "log", user=user, ready=partial(accepts, conninfo_of(port)))


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
