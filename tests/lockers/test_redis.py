"""RedisLocker over a real server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server, binary, free_port
from tuspy_server.testing.locker_processes import MakeLocker

redis = pytest.importorskip("redis")

from tuspy_server.lockers.redis import RedisLocker  # noqa: E402


def redis_server(directory: Path, port: int) -> Server:
    options = f"--port {port} --bind 127.0.0.1 --appendonly no --dir {directory}".split()
    return Server([binary("redis-server"), *options, "--save", ""], port, directory / "log")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server(tmp_path_factory.mktemp("redis"), free_port()) as server:
        yield server


class TestRedisLocker(LeasedSuite):
    handover_limit = 0.2

    @pytest.fixture
    def make_locker(self, server: Server, request: pytest.FixtureRequest) -> MakeLocker:
        url = f"redis://127.0.0.1:{server.port}/0"
        return partial(RedisLocker, url, lease=self.lease, prefix=f"{request.node.name}:")
