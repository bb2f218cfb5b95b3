"""ObjectStoreLocker on Google Cloud Storage: fake-gcs-server behind our rules (tests/servers/gcs)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.lockers.churning import Churning, OnSimulator
from tests.servers.gcs import GCSServer, gcs_server
from tuspy_server.backends.gcs import Bucket
from tuspy_server.composer import Composer
from tuspy_server.lockers.object_store import ObjectStoreLocker
from tuspy_server.stores.gcs import GCSStore
from tuspy_server.testing.locker_processes import MakeLocker

LEASE = 5.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


def locker_on(endpoint: str, bucket: str) -> ObjectStoreLocker:
    return ObjectStoreLocker(Bucket(bucket, endpoint=endpoint, retry_period=0), lease=LEASE)


class TestObjectStoreLockerOnGCS(OnSimulator, Churning):
    lease = LEASE
    try_limit = 1.0
    handover_limit = 2.0
    handovers = 3
    crash_limit = LEASE * 2 + 2
    wish_limit = 5.0

    @pytest.fixture
    def make_locker(self, server: GCSServer) -> MakeLocker:
        return partial(locker_on, server.endpoint, server.new_bucket())


def test_gcs_store_composes_with_its_default_locker(server: GCSServer) -> None:
    composer = Composer(GCSStore(server.bucket(server.new_bucket())))
    assert isinstance(composer.locker, ObjectStoreLocker)
    assert composer.is_blocking
    assert set(composer.extensions) >= {"creation", "checksum", "concatenation", "termination", "expiration"}
