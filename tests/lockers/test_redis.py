"""RedisLocker over a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from tests.lockers.churning import Churning
from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server, binary
from tests.servers.ports import free_port
from tests.servers.wire import eventually
from tuspy_server.testing.locker_processes import MakeLocker

redis = pytest.importorskip("redis")

from redis import Redis, RedisCluster  # noqa: E402
from redis.sentinel import Sentinel  # noqa: E402

from tuspy_server.lockers.redis import RedisLocker  # noqa: E402


def redis_server(directory: Path, port: int, more: str = "") -> Server:
    options = f"--port {port} --bind 127.0.0.1 --appendonly no --dir {directory} {more}".split()
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


class OwningLocker(RedisLocker):
    """Closes the client it was given too: nobody else would before the sockets are collected as garbage."""

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(client, prefix=prefix)
        self.client = client

    def close(self) -> None:
        super().close()
        self.client.close()
        if not isinstance(self.client, RedisCluster):  # the pool of a client that did not make it outlives the client
            self.client.connection_pool.disconnect()


def locker_by_sentinel(port: int, prefix: str) -> RedisLocker:
    sentinel = cast("Any", Sentinel)([("127.0.0.1", port)], socket_timeout=1.0)
    return OwningLocker(sentinel.master_for("uploads", socket_timeout=1.0, decode_responses=True), prefix)


@pytest.fixture(scope="module")
def sentinel(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory, port = tmp_path_factory.mktemp("sentinel"), free_port()
    settings = directory / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor uploads 127.0.0.1 {server.port} 1\n")
    command = [binary("redis-server"), str(settings), "--sentinel"]
    with Server(command, port, directory / "log") as sentinel:
        yield sentinel


class TestRedisLockerBySentinel(Churning):
    """Also with a client that decodes what it reads."""

    handover_limit = 0.2
    crash_limit = 15.0

    @pytest.fixture
    def make_locker(self, sentinel: Server, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(locker_by_sentinel, sentinel.port, f"{request.node.name}:")


def locker_on_cluster(port: int, prefix: str) -> RedisLocker:
    return OwningLocker(RedisCluster("127.0.0.1", port, socket_timeout=1.0), prefix)


SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))


def accepts_all_slots(port: int) -> bool:
    with Redis(port=port) as client:
        return bool(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


def join(ports: list[int]) -> None:
    with Redis(port=ports[0]) as client:
        for port in ports[1:]:
            with Redis(port=port) as other:
                bus = int(other.config_get("cluster-port")["cluster-port"])
            client.execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
    deadline = time.monotonic() + 30
    while not all(accepts_all_slots(port) for port in ports):
        assert time.monotonic() < deadline, "the cluster does not come up"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Three masters; the port of one of them."""
    ports = [free_port() for _ in SLOTS]
    with ExitStack() as stack:
        for port, (first, last) in zip(ports, SLOTS, strict=True):
            directory = tmp_path_factory.mktemp("cluster")
            stack.enter_context(redis_server(directory, port, f"--cluster-enabled yes --cluster-port {free_port()}"))
            with Redis(port=port) as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        join(ports)
        yield ports[0]


class TestRedisLockerOnCluster(Churning):
    handover_limit = 0.2
    crash_limit = 15.0

    @pytest.fixture
    def make_locker(self, cluster: int, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(locker_on_cluster, cluster, f"{request.node.name}:")


def nothing() -> None: ...


def test_nothing_but_counters_stays_behind(server: Server) -> None:
    locker = RedisLocker(f"redis://127.0.0.1:{server.port}/1")
    for n in range(500):
        lock = locker.try_lock(f"upload-{n}", nothing, nothing)
        assert lock is not None
        lock.release()
    with Redis(port=server.port, db=1) as client:
        keys = client.keys()
    assert all(key.endswith(b":token") for key in keys)
    assert len(keys) <= 256
    locker.close()


def test_tokens_grow_although_the_servers_clock_is_set_back(server: Server) -> None:
    locker = RedisLocker(f"redis://127.0.0.1:{server.port}/2")
    ahead = round(time.time() * 1000) + 3_600_000
    with Redis(port=server.port, db=2) as client:
        for slot in range(256):
            client.set(f"tus:{{{slot}}}:token", ahead)
    lock = locker.try_lock("a", nothing, nothing)
    assert lock is not None
    assert lock.token == ahead + 1
    locker.close()


def test_a_client_that_must_be_awaited_is_refused() -> None:
    with pytest.raises(TypeError, match="blocking client"):
        RedisLocker(redis.asyncio.Redis())


def test_a_closed_locker_leaves_no_connection_and_no_listener(server: Server) -> None:
    with Redis(port=server.port) as client:
        before, others = len(client.client_list()), set(threading.enumerate())
        locker = RedisLocker(f"redis://127.0.0.1:{server.port}/3")
        lock = locker.try_lock("upload", nothing, nothing)
        assert lock is not None
        lock.release()
        locker.close()
        eventually(lambda: len(client.client_list()) == before)
        started = set(threading.enumerate()) - others
    assert not [thread for thread in started if thread.name == "tus-locker-listen"]
