"""GCSStore against fake-gcs-server.

No server on the package registries keeps the preconditions of Google Cloud Storage on compose, delete and reads: a
thin proxy of our own adds those (tests/servers/gcs_rules).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.gcs import GCSServer, gcs_server
from tuspy_server.stores.gcs import GCSStore
from tuspy_server.testing import StoreSuite


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


class TestGCSStore(StoreSuite):
    """As configured by default: everything the suite writes is too small for a piece."""

    @pytest.fixture
    def store(self, server: GCSServer) -> GCSStore:
        return GCSStore(server.bucket(server.new_bucket()), prefix="some/prefix")


class TestGCSStoreOfSmallPieces(StoreSuite):
    """Pieces so small that every upload of the suite is made of several, and some are composed in levels."""

    @pytest.fixture
    def store(self, server: GCSServer) -> GCSStore:
        bucket = server.bucket(server.new_bucket())
        return GCSStore(bucket, piece_size=64 * 1024, smallest=1, pieces_in_flight=2, threads=3)
