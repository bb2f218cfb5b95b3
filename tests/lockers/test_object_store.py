"""ObjectStoreLocker over buckets with conditional writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.cli.command import run
from tests.lockers.churning import Churning, OnSimulator
from tests.lockers.leased import LeasedSuite
from tests.lockers.servers import Server
from tests.lockers.tokens import nothing, tokens_around
from tests.servers.ports import free_port
from tests.servers.proxy import Answer, Call, Forward, Proxy
from tests.servers.s3 import BUCKET, KEY_ID, SECRET, moto, seaweedfs
from tuspy_server.errors import StoreFailed
from tuspy_server.lockers.object_store import ObjectStoreLocker
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


class TestObjectStoreLocker(OnSimulator, LeasedSuite):
    lease = 10.0  # moto is slow, and a call may take a fifth of it
    handover_limit = 2.0
    handovers = 3
    crash_limit = 25.0
    wish_limit = 5.0

    @pytest.fixture
    def make_locker(self, server: MotoServer, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(locker_on, f"http://127.0.0.1:{server.port}", f"{request.node.name}/", self.lease)


class TestObjectStoreLockerOnSeaweedFS(OnSimulator, Churning):
    lease = 10.0
    try_limit = 1.0
    handover_limit = 2.0
    handovers = 3
    crash_limit = 25.0
    wish_limit = 5.0

    @pytest.fixture
    def make_locker(self, request: pytest.FixtureRequest) -> MakeLocker:
        return partial(locker_on, seaweedfs().url, f"{request.node.name}/", self.lease)


def without_conditions(call: Call, forward: Forward) -> Answer:
    """A service that has never heard of conditions of writes."""
    kept = {name: value for name, value in call.headers.items() if name.lower() not in ("if-match", "if-none-match")}
    return forward(replace(call, headers=kept))


@pytest.fixture
def careless() -> Iterator[str]:
    """The URL of a bucket's service that ignores conditions. moto, since the headers are signed."""
    proxy = Proxy(int(moto().url.rpartition(":")[2]), without_conditions)
    yield f"http://127.0.0.1:{proxy.port}"
    proxy.stop()


def test_a_service_that_ignores_conditions_gets_no_locks(careless: str) -> None:
    locker = locker_on(careless, "careless/", 10.0)
    with pytest.raises(StoreFailed, match="would keep nobody out"):
        locker.check()
    with pytest.raises(StoreFailed, match="would keep nobody out"):
        locker.try_lock("a", nothing, nothing)


def test_the_command_does_not_start_with_locks_that_keep_nobody_out(careless: str) -> None:
    flags = ["--s3-bucket", BUCKET, "--s3-endpoint", careless]
    environment = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    ended = run(*flags, "--port", "0", environment=environment)
    assert ended.returncode == 1
    assert "would keep nobody out" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_looking_for_conditions_leaves_nothing_behind() -> None:
    bucket = bucket_on(seaweedfs().url, 10.0)
    ObjectStoreLocker(bucket, prefix="looked/").check()
    assert not list(bucket.list("looked/"))


def test_tokens_grow_on_where_a_lifecycle_rule_removed_their_counter() -> None:
    bucket = bucket_on(seaweedfs().url, 10.0)
    tokens = tokens_around(ObjectStoreLocker(bucket, prefix="removed/"), lambda: bucket.delete(["removed/a"]))
    assert tokens == sorted(set(tokens))
