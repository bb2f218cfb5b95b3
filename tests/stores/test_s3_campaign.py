"""S3Store where it takes its time, so in the campaign only (TUSPY_SERVER_CAMPAIGN=1): on Ceph's gateway, whose
cluster is three processes more, and with thousands of parts.
"""

from __future__ import annotations

import os

import pytest

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.stores.s3_client import Upload
from tests.stores.test_s3 import small_store
from tuspy_server import testing
from tuspy_server.backends.s3 import Bucket
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits

if not os.environ.get("TUSPY_SERVER_CAMPAIGN"):
    pytest.skip("this belongs to the campaign: nox -s campaign_object_stores", allow_module_level=True)


class TestS3StoreOnCeph(testing.StoreSuite):
    @pytest.fixture
    def store(self) -> S3Store:
        return small_store(servers.radosgw())


def test_parts_beyond_the_page_that_the_server_allows_are_found() -> None:
    """It tells 1000 parts in one answer, whatever is asked for."""
    bucket = Bucket(servers.BUCKET, client=servers.radosgw().client())
    store = S3Store(bucket, prefix="paged/", limits=PartLimits(part_size=1, min_part_size=1))
    upload = Upload(store, bytes(n % 251 for n in range(1100)))
    upload.append_to(1003)
    info = store.get(upload.id)
    assert info.offset == 1003
    parts = bucket.call("list_parts", Key=info.storage["key"], UploadId=info.storage["multipart"])
    assert (len(parts["Parts"]), parts["IsTruncated"]) == (1000, True)


def test_upload_of_nine_thousand_parts_is_resumed_and_completed() -> None:
    server = servers.moto()
    size = server.min_part_size
    bucket = Bucket(servers.BUCKET, client=server.client())
    limits = PartLimits(part_size=size, min_part_size=size)
    data = bytes(n * 31 % 251 for n in range(9_500 * size + 3))
    upload = Upload(S3Store(bucket, prefix="nine thousand/", limits=limits), data)
    upload.append_to(9_000 * size + 7)
    upload.store = S3Store(bucket, prefix="nine thousand/", limits=limits)
    upload.append_to(len(data))
    upload.finish()
    assert upload.content() == data
