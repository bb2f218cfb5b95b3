"""An app on GCSStore: fake-gcs-server behind our rules (tests/servers/gcs)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.gcs import GCSServer, gcs_server
from tests.stores.ledger_app import PIECE, AppSuite
from tuspy_server.stores.gcs import GCSStore
from tuspy_server.stores.ledger_store import LedgerStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


class TestGCSApp(AppSuite):
    @pytest.fixture(autouse=True)
    def _on(self, server: GCSServer) -> None:
        self.server = server

    def new_store(self) -> GCSStore:
        return GCSStore(self.server.bucket(self.server.new_bucket()), prefix="up", piece_size=PIECE, smallest=1000)

    def stored(self, store: LedgerStore) -> list[str]:
        assert isinstance(store, GCSStore)
        return [name for name in self.server.names(store.bucket.name) if not name.startswith(".locks/")]
