"""AzureStore while calls fail, on Azurite.

TUSPY_SERVER_CAMPAIGN=1 makes every call fail in every way; otherwise a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from tests.servers.azurite import AzureServer, azure_server
from tests.servers.proxy import Proxy
from tests.stores.ledger_faults import CAMPAIGN, PATIENT, FaultSuite
from tests.stores.ledger_victim import Victims, tiny_azure_store
from tuspy_server.stores.ledger_store import LedgerStore


def server_scope(fixture_name: str, config: pytest.Config) -> Literal["function", "module"]:
    """Azurite stops answering after some hundred lives of uploads: in the campaign each test has a new one."""
    return "function" if CAMPAIGN else "module"


@pytest.fixture(scope=server_scope)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


class TestAzureStoreInTrouble(FaultSuite):
    @pytest.fixture(autouse=True)
    def _on(self, server: AzureServer) -> None:
        self.server = server

    def new_place(self) -> str:
        return self.server.container().name

    def store(self, place: str, timeout: float = PATIENT, repeats: bool = False) -> LedgerStore:
        return tiny_azure_store(self.server.container(place, timeout=timeout, retries=4 if repeats else 0))

    def proxy(self) -> Proxy:
        return self.server.proxy

    def stored(self, place: str) -> list[str]:
        return self.server.names(place)

    def victims(self) -> Victims:
        return Victims("azure", self.server.endpoint)
