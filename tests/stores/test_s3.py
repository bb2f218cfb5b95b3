"""S3Store against real servers: what every store must do, and what S3 makes difficult."""

from __future__ import annotations

import itertools

import pytest

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tuspy_server import testing
from tuspy_server.backends.s3 import Bucket
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits

_prefixes = (f"test {n}/ü~'&+/" for n in itertools.count())


def small_store(server: servers.S3Server) -> S3Store:
    """A store of its own prefix whose parts are as small as the server allows, two at once."""
    limits = PartLimits(part_size=2 * server.min_part_size, min_part_size=server.min_part_size)
    bucket = Bucket(servers.BUCKET, client=server.client())
    return S3Store(bucket, prefix=next(_prefixes), limits=limits, concurrency=2)


class TestS3StoreOnMoto(testing.StoreSuite):
    @pytest.fixture
    def store(self) -> S3Store:
        return small_store(servers.moto())


class TestS3StoreOnSeaweedFS(testing.StoreSuite):
    @pytest.fixture
    def store(self) -> S3Store:
        return small_store(servers.seaweedfs())
