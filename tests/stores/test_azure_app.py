"""An app on AzureStore: Azurite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.azurite import AzureServer, azure_server
from tests.stores.ledger_app import PIECE, AppSuite
from tuspy_server.stores.azure import AzureStore
from tuspy_server.stores.ledger_store import LedgerStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


class TestAzureApp(AppSuite):
    @pytest.fixture(autouse=True)
    def _on(self, server: AzureServer) -> None:
        self.server = server

    def new_store(self) -> AzureStore:
        return AzureStore(self.server.container(), prefix="up", block_size=PIECE, smallest=1000)

    def stored(self, store: LedgerStore) -> list[str]:
        assert isinstance(store, AzureStore)
        return [name for name in self.server.names(store.container.name) if not name.startswith(".locks/")]
