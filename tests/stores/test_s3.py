"""S3Store against real servers: what every store must do, and what S3 makes difficult."""

from __future__ import annotations

import itertools

import pytest

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.servers.s3_faults import Fault, Script
from tests.stores.s3_client import Upload
from tuspy_server import testing
from tuspy_server.backends.s3 import Bucket
from tuspy_server.errors import StoreUnavailable
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


def store_of_five_mebibytes() -> tuple[S3Store, int]:
    """On SeaweedFS, with AWS's own minimum for parts; and that minimum."""
    server = servers.seaweedfs()
    return small_store(server), server.min_part_size


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("rest", [-1, 0, 1])
def test_what_is_left_about_as_large_as_the_smallest_part_is_kept(rest: int, deferred: bool) -> None:
    store, smallest = store_of_five_mebibytes()
    data = bytes(251) * (3 * smallest // 251) + b"the last odd bytes"
    upload = Upload(store, data, deferred=deferred)
    for stop in (smallest + rest, smallest + rest + 1, len(data)):
        upload.append_to(stop)
    upload.declare()
    upload.finish()
    assert upload.content() == data


def test_part_stored_again_is_listed_twice_and_counts_once() -> None:
    """SeaweedFS keeps what an UploadPart of the same number had stored before."""
    store, smallest = store_of_five_mebibytes()
    data = b"".join(bytes([n]) * smallest for n in range(7))
    upload = Upload(store, data)
    upload.append_to(2 * smallest)
    Script(store.bucket.client).fail("UploadPart", Fault.TIMEOUT, url="partNumber=2")
    writer = store.open(upload.head(), fence=None)
    writer.write([data[2 * smallest : 3 * smallest]])
    with pytest.raises(StoreUnavailable):
        writer.close()
    upload._sent = 3 * smallest
    upload.append_to(6 * smallest)
    info = upload.head()
    listed = store.bucket.call("list_parts", Key=info.storage["key"], UploadId=info.storage["multipart"])["Parts"]
    assert [part["PartNumber"] for part in listed].count(2) == 2
    upload.append_to(len(data))
    upload.finish()
    assert upload.content() == data
