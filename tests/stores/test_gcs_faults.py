"""GCSStore while calls fail, on fake-gcs-server behind our rules (tests/servers/gcs).

TUSPY_SERVER_CAMPAIGN=1 makes every call fail in every way; otherwise a sample.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.servers.gcs import GCSServer, gcs_server
from tests.servers.proxy import Proxy
from tests.stores.ledger_faults import PATIENT, FaultSuite
from tests.stores.ledger_victim import Victims, tiny_gcs_store
from tuspy_server.stores.ledger_store import LedgerStore

# The SDK leaves the answers of downloads that it repeats to the garbage collector, which may come to the socket first.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


class TestGCSStoreInTrouble(FaultSuite):
    @pytest.fixture(autouse=True)
    def _on(self, server: GCSServer) -> None:
        self.server = server

    def new_place(self) -> str:
        return self.server.new_bucket()

    def store(self, place: str, timeout: float = PATIENT, repeats: bool = False) -> LedgerStore:
        return tiny_gcs_store(self.server.bucket(place, timeout=timeout, retry_period=30.0 if repeats else 0.0))

    def proxy(self) -> Proxy:
        return self.server.proxy

    def stored(self, place: str) -> list[str]:
        return self.server.names(place)

    def victims(self) -> Victims:
        return Victims("gcs", self.server.endpoint)
