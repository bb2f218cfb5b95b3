"""ObjectStoreLocker over buckets with conditional writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server
from tests.servers.ports import free_port
from tests.servers.s3 import BUCKET, KEY_ID, SECRET, seaweedfs
from tuspy_server.lockers.object_store import ObjectStoreLocker
from tuspy_server.testing import LockerSuite
from tuspy_server.testing.locker_processes import MakeLocker

pytest.importorskip("boto3")

from tuspy_server.backends.s3 import Bucket


def bucket_on(url: str, timeout: float) -> Bucket:
    os.environ.setdefault("AWS_ACCESS_KEY_ID", KEY_ID)
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", SECRET)
    return Bucket(
        BUCKET,
        endpoint_url=url,
        region="us-east-1",
        addressing="path",
        retries=1,
        connect_timeout=timeout,
        read_timeout=timeout,
    )


def locker_on(url: str, prefix: str, lease: float) -> ObjectStoreLocker:
    return ObjectStoreLocker(bucket_on(url, lease / 5), lease=lease, prefix=prefix)


class MotoServer(Server):
    """Forgets everything when it ends, the bucket as well. Its first answer takes seconds."""

    def start(self) -> None:
        super().start()
        bucket = bucket_on(f"http://127.0.0.1:{self.port}", 30.0)
        bucket.call("create_bucket")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    pytest.importorskip("moto.server", reason="moto is not installed")
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with MotoServer([sys.executable, "-m", "tests.lockers.moto_in_turn", str(port)], port, log) as server:
        yield server


class TestObjectStoreLocker(LeasedSuite):
    lease = 5.0
    processes = 8  # a simulator that answers in turn has not the time for more
    handover_limit = 2.0
    handovers = 3
    crash_limit = 10.0
    wish_limit = 5.0

    @pytest.fixture
    def make_locker(self, server: MotoServer, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(locker_on, f"http://127.0.0.1:{server.port}", f"{request.node.name}/", self.lease)


class TestObjectStoreLockerOnSeaweedFS(LockerSuite):
    lease = 10.0
    try_limit = 1.0
    handover_limit = 2.0
    handovers = 3
    crash_limit = 25.0
    wish_limit = 5.0

    @pytest.fixture
    def make_locker(self, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(locker_on, seaweedfs().url, f"{request.node.name}/", self.lease)
