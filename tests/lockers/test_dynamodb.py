"""DynamoDBLocker over a server that keeps DynamoDB's conditions."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.churning import OnSimulator
from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server
from tests.lockers.tokens import tokens_around
from tests.servers.ports import free_port
from tuspy_server.errors import LockerUnavailable
from tuspy_server.testing.locker_processes import MakeLocker

boto3 = pytest.importorskip("boto3")

from tuspy_server.lockers.dynamodb import DynamoDBLocker  # noqa: E402


def locker_on(port: int, table: str, lease: float) -> DynamoDBLocker:
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    return DynamoDBLocker(table, endpoint_url=f"http://127.0.0.1:{port}", region="us-east-1", lease=lease)


class MotoServer(Server):
    """Forgets everything when it ends, its table as well."""

    table = "first"

    def start(self) -> None:
        super().start()
        self.make_table(self.table)

    def make_table(self, name: str) -> None:
        """The server's first answer takes seconds."""
        self.table = name
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(LockerUnavailable):
                return locker_on(self.port, name, 30.0).create_table()
        raise TimeoutError("no table could be made")


def moto_server(directory: Path) -> MotoServer:
    port = free_port()
    return MotoServer([sys.executable, "-m", "tests.lockers.moto_in_turn", str(port)], port, directory / "log")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    pytest.importorskip("moto.server", reason="moto is not installed")
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


class TestDynamoDBLocker(OnSimulator, LeasedSuite):
    lease = 5.0
    handover_limit = 2.0
    handovers = 3
    crash_limit = 10.0
    wish_limit = 5.0

    @pytest.fixture
    def make_locker(self, server: MotoServer, request: pytest.FixtureRequest) -> MakeLocker:
        server.make_table(request.node.name)
        return partial(locker_on, server.port, request.node.name, self.lease)


def test_tokens_grow_on_where_the_tables_ttl_removed_their_counter(server: MotoServer) -> None:
    server.make_table("removed")
    locker = locker_on(server.port, "removed", 30.0)
    client = boto3.client("dynamodb", endpoint_url=f"http://127.0.0.1:{server.port}", region_name="us-east-1")
    try:
        tokens = tokens_around(locker, lambda: client.delete_item(TableName="removed", Key={"name": {"S": "a"}}))
    finally:
        client.close()
    assert tokens == sorted(set(tokens))
