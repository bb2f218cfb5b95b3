"""EtcdLocker over a real server."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server, answers, binary
from tests.servers.ports import free_port
from tuspy_server.lockers.etcd import EtcdLocker
from tuspy_server.testing.locker_processes import MakeLocker


def etcd_server(directory: Path, port: int) -> Server:
    client, peer = (f"http://127.0.0.1:{number}" for number in (port, free_port()))
    options = {
        "data-dir": str(directory / "data"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    ready = partial(answers, f"{client}/health")
    return Server([binary("etcd"), *arguments], port, directory / "log", ready=ready)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with etcd_server(tmp_path_factory.mktemp("etcd"), free_port()) as server:
        yield server


class TestEtcdLocker(LeasedSuite):
    handover_limit = 0.2
    crash_limit = 8.0
    keeps_locks_over_restart = True

    @pytest.fixture
    def make_locker(self, server: Server, request: pytest.FixtureRequest) -> MakeLocker:
        address = f"http://127.0.0.1:{server.port}"
        return partial(EtcdLocker, address, lease=self.lease, prefix=f"{request.node.name}/")


def test_a_closed_locker_leaves_no_connection_but_its_watch_which_ends_by_itself(server: Server) -> None:
    before = connections(server.port)  # watches of the tests before, each for 20 seconds at most
    locker = EtcdLocker(f"http://127.0.0.1:{server.port}")
    locks = [locker.try_lock(name, nothing, nothing) for name in "abc"]
    for lock in locks:
        assert lock is not None
        lock.release()
    assert len(connections(server.port) - before) > 1
    locker.close()
    assert len(connections(server.port) - before) <= 1


def nothing() -> None: ...


def connections(port: int) -> set[socket.socket]:
    """Open sockets of this process to that port of this machine."""
    found = [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() >= 0]
    return {each for each in found if each.family == socket.AF_INET and _peer(each) == port}


def _peer(connection: socket.socket) -> int | None:
    try:
        port: int = connection.getpeername()[1]
    except OSError:
        return None
    return port
