"""ConsulLocker over a real agent where there is one, and over a stub of what it uses.

Consul takes no lease below ten seconds and may double it, so the tests of outages are the campaign's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.churning import CAMPAIGN, Churning
from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server, answers, binary
from tests.servers.ports import free_port
from tuspy_server.lockers.consul import ConsulLocker
from tuspy_server.testing.locker_processes import MakeLocker

LEASE = 10.0


def agent(directory: Path, port: int) -> Server:
    """One server that keeps what it is told over a restart."""
    ports = {name: free_port() for name in ("server", "serf_lan")}
    settings = directory / "consul.hcl"
    words = "\n".join(f"  {name} = {number}" for name, number in ports.items())
    settings.write_text(
        f'server = true\nbootstrap_expect = 1\ndata_dir = "{directory}/data"\nbind_addr = "127.0.0.1"\n'
        f"ports {{\n  http = {port}\n  dns = -1\n  grpc = -1\n  grpc_tls = -1\n  serf_wan = -1\n{words}\n}}\n"
        "performance { raft_multiplier = 1 }\n"
    )
    command = [binary("consul"), "agent", f"-config-file={settings}"]
    return Server(command, port, directory / "log", ready=partial(has_leader, port))


def stub(directory: Path, port: int) -> Server:
    command = [sys.executable, "-m", "tests.lockers.consul_stub", str(port)]
    return Server(command, port, directory / "log", ready=partial(has_leader, port))


def has_leader(port: int) -> bool:
    return answers(f"http://127.0.0.1:{port}/v1/kv/ready?consistent", 404)


@pytest.fixture(scope="module", params=[agent, stub])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with request.param(tmp_path_factory.mktemp("consul"), free_port()) as server:
        yield server


@pytest.fixture
def make_locker(server: Server, request: pytest.FixtureRequest) -> MakeLocker:
    prefix = request.node.name.replace("[", "-").replace("]", "/")
    return partial(ConsulLocker, f"http://127.0.0.1:{server.port}", lease=LEASE, prefix=prefix)


class TestConsulLocker(Churning):
    lease = LEASE
    handover_limit = 0.2
    crash_limit = LEASE * 3


if CAMPAIGN:

    class TestConsulLockerInOutages(LeasedSuite):
        lease = LEASE
        handover_limit = 0.2
        crash_limit = LEASE * 3

        @pytest.fixture(autouse=True)
        def durable(self, request: pytest.FixtureRequest) -> None:
            self.keeps_locks_over_restart = request.node.callspec.params["server"] is agent


def test_a_lease_that_consul_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 with Consul"):
        ConsulLocker(lease=9.9)
