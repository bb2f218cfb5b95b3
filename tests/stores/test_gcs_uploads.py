"""Listing the uploads of a bucket of GCS; Azure's store lists by the same lines."""

from __future__ import annotations

from pathlib import Path

from tests.servers.gcs import gcs_server
from tests.stores.listing import assert_lists_every_upload
from tuspy_server.stores.gcs import GCSStore


def test_every_upload_of_a_prefix_is_listed(tmp_path: Path) -> None:
    with gcs_server(tmp_path) as server:
        assert_lists_every_upload(GCSStore(server.bucket(server.new_bucket()), prefix="up"))
