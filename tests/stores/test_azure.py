"""AzureStore against Azurite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.azurite import AzureServer, azure_server
from tuspy_server.stores.azure import AzureStore
from tuspy_server.testing import StoreSuite


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azure")) as running:
        yield running


class TestAzureStore(StoreSuite):
    """As configured by default: everything the suite writes is too small for a block."""

    @pytest.fixture
    def store(self, server: AzureServer) -> AzureStore:
        return AzureStore(server.container(), prefix="some/prefix")


class TestAzureStoreOfSmallBlocks(StoreSuite):
    """Blocks so small that every upload of the suite is made of several."""

    @pytest.fixture
    def store(self, server: AzureServer) -> AzureStore:
        return AzureStore(server.container(), block_size=64 * 1024, smallest=1, blocks_in_flight=2, threads=3)
