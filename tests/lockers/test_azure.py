"""AzureLeaseLocker on Azurite. Leases are 15 seconds at least, so the tests of outages are the campaign's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lockers.churning import CAMPAIGN, Churning, OnSimulator
from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server
from tests.lockers.tokens import tokens_around
from tests.servers.azurite import ACCOUNT, KEY, azurite_command
from tests.servers.ports import free_port
from tuspy_server.backends.azure import Container
from tuspy_server.composer import Composer
from tuspy_server.lockers.azure import AzureLeaseLocker
from tuspy_server.stores.azure import AzureStore
from tuspy_server.testing.locker_processes import MakeLocker

LEASE = 15.0


def container_on(port: int) -> Container:
    os.environ["AZURE_STORAGE_KEY"] = KEY
    return Container("locks", account=ACCOUNT, endpoint=f"http://127.0.0.1:{port}/{ACCOUNT}")


def locker_on(port: int, prefix: str) -> AzureLeaseLocker:
    return AzureLeaseLocker(container_on(port), lease=LEASE, prefix=prefix)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("azurite")
    port = free_port()
    with Server(azurite_command(port, folder), port, folder / "log") as server:
        container_on(port).make()
        yield server


@pytest.fixture
def make_locker(server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MakeLocker:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    return partial(locker_on, server.port, f"{request.node.name}/")


class TestAzureLeaseLocker(OnSimulator, Churning):
    lease = LEASE
    try_limit = 1.0
    handover_limit = 2.0
    handovers = 3
    crash_limit = LEASE * 2
    wish_limit = 5.0


if CAMPAIGN:

    class TestAzureLeaseLockerInOutages(OnSimulator, LeasedSuite):
        lease = LEASE
        try_limit = 1.0
        handover_limit = 2.0
        handovers = 3
        crash_limit = LEASE * 2
        wish_limit = 5.0
        keeps_locks_over_restart = True


@pytest.mark.parametrize("lease", [14.9, 60.1, 0.0, float("nan")])
def test_a_lease_that_azure_does_not_grant_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="15 to 60"):
        AzureLeaseLocker(container_on(1), lease=lease)


def test_azure_store_composes_with_its_default_locker(server: Server) -> None:
    composer = Composer(AzureStore(container_on(server.port)))
    assert isinstance(composer.locker, AzureLeaseLocker)
    assert composer.is_blocking


def test_tokens_grow_on_where_a_lifecycle_rule_removed_their_counter(server: Server) -> None:
    tokens = tokens_around(
        locker_on(server.port, "removed/"), lambda: container_on(server.port).delete(["removed/a.lock"])
    )
    assert tokens == sorted(set(tokens))
