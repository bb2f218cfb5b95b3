"""The permissions that docs/stores/gcs.md names: enough, each needed, and every call known that the store makes.

No emulator enforces permissions. Here a proxy does, by the table in tests/servers/gcs_iam; it knows a call's
permissions by its method and path, and a call that it does not know fails the test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing

import pytest

from tests.servers.gcs import GCSServer, gcs_server
from tests.servers.gcs_iam import BUCKET, Allowed
from tests.servers.gcs_rules import GCSRules
from tests.servers.proxy import Proxy
from tests.stores.permissions import PIECE, Trial, page
from tuspy_server.backends.gcs import Bucket, connect
from tuspy_server.stores.gcs import GCSStore

NEEDED = page("gcs.md")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with gcs_server(tmp_path_factory.mktemp("gcs")) as running:
        yield running


def failing(server: GCSServer, permissions: Collection[str]) -> tuple[set[str], set[str]]:
    """What fails with these permissions, and which were needed."""
    place, allowed = server.new_bucket(), Allowed(GCSRules(), permissions)
    proxy = Proxy(server.proxy.upstream, allowed)
    try:
        with closing(connect(f"http://127.0.0.1:{proxy.port}")) as client:
            poor = _store(Bucket(place, client=client, retry_period=0))
            found = Trial(_store(server.bucket(place)), poor).failing()
    finally:
        proxy.stop()
    assert allowed.unknown == []
    return found, allowed.used - {BUCKET}


def _store(bucket: Bucket) -> GCSStore:
    return GCSStore(bucket, piece_size=PIECE, smallest=PIECE // 4, pieces_in_flight=2, threads=4)


def test_permissions_the_page_names_are_enough_and_all_that_are_used(server: GCSServer) -> None:
    assert failing(server, NEEDED) == (set(), set(NEEDED))


@pytest.mark.parametrize("lacking", NEEDED)
def test_without_a_permission_fails_what_the_page_says(server: GCSServer, lacking: str) -> None:
    assert failing(server, set(NEEDED) - {lacking})[0] == NEEDED[lacking] != set()
