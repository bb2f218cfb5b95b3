"""Listing the uploads of a bucket."""

from __future__ import annotations

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.stores.listing import assert_lists_every_upload
from tuspy_server.backends.s3 import Bucket
from tuspy_server.stores.s3 import S3Store


def test_every_upload_of_a_prefix_is_listed() -> None:
    bucket = Bucket(servers.BUCKET, client=servers.moto().client())
    assert_lists_every_upload(S3Store(bucket, prefix="listed/", conditional_writes=True))
