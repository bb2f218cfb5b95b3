"""Two commands on one storage, with the locks in that storage or in a service of their own: the pairs that
docs/scaling-out.md recommends."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.servers.ports import free_port
from tests.servers.proxy import Answer, Call, Forward, Proxy

PIECE = 8 << 20
"""Bytes that GCSStore and AzureStore store at once by default, and S3Store here."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Part:
    """Flags and environment that a store or a locker adds to the command."""

    flags: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """A store; `has_bytes` tells whether it has some of an upload."""

    part: Part
    has_bytes: Callable[[str], bool]
    locks_files: bool = False


@dataclass(frozen=True, slots=True)
class Locks:
    """A locker, and its lease in seconds: a call to a service may take a fifth of it, and machines are busy."""

    part: Part
    lease: float = 4.0


class Arrivals:
    """Rules of a proxy that remember which uploads a piece was stored of."""

    def __init__(self, proxy: Proxy) -> None:
        self._rules = proxy.rules
        self._mutex = threading.Lock()
        self._stored: list[bytes] = []
        proxy.rules = self

    def __call__(self, call: Call, forward: Forward) -> Answer:
        answer = self._rules(call, forward)
        if len(call.body) >= PIECE and answer.status < 300:
            with self._mutex:  # Google's uploads name their object in front of its bytes
                self._stored.append(call.path.encode() + call.body[:1000])
        return answer

    def have(self, upload_id: str) -> bool:
        with self._mutex:
            return any(upload_id.encode() in each for each in self._stored)


class Backends:
    """Servers of stores and lockers, each started on first use and ended with the block."""

    def __init__(self, stack: ExitStack, directories: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._directories = directories
        self._locks: dict[str, Locks] = {}
        self._arrivals: dict[str, Arrivals] = {}

    def storage(self, name: str, directory: Path) -> Storage:
        if name == "file":
            return Storage(Part([]), lambda upload_id: (directory / upload_id).stat().st_size > PIECE, locks_files=True)
        part = {"s3": self._s3, "gcs": self._gcs, "azure": self._azure}[name]()
        return Storage(part, self._arrivals[name].have)

    def locks(self, name: str, store: str) -> Locks:
        if name == "auto":
            return Locks(Part([]), 15.0) if store == "azure" else Locks(Part([]))  # Azure grants no shorter one
        if name not in self._locks:
            start = {"redis": self._redis, "etcd": self._etcd, "postgres": self._postgres}
            start |= {"consul": self._consul, "dynamodb": self._dynamodb}
            self._locks[name] = start[name]()
        return self._locks[name]

    def _redis(self) -> Locks:
        pytest.importorskip("redis", reason="redis is not installed")
        from tests.lockers.test_redis import redis_server

        server = self._stack.enter_context(redis_server(self._directories.mktemp("redis"), free_port()))
        return Locks(Part(["--locker", f"redis://127.0.0.1:{server.port}"]))

    def _etcd(self) -> Locks:
        from tests.lockers.test_etcd import etcd_server

        server = self._stack.enter_context(etcd_server(self._directories.mktemp("etcd"), free_port()))
        return Locks(Part(["--locker", f"etcd://127.0.0.1:{server.port}"]))

    def _postgres(self) -> Locks:
        pytest.importorskip("psycopg", reason="psycopg is not installed")
        from tests.lockers.test_postgres import postgres_server

        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        server = self._stack.enter_context(postgres_server(directory, free_port()))
        return Locks(Part(["--locker", f"postgresql://postgres@127.0.0.1:{server.port}/postgres"]))

    def _consul(self) -> Locks:
        from tests.lockers.test_consul import LEASE, agent, stub

        start = agent if shutil.which("consul") else stub
        server = self._stack.enter_context(start(self._directories.mktemp("consul"), free_port()))
        return Locks(Part(["--locker", f"consul://127.0.0.1:{server.port}"]), LEASE)

    def _dynamodb(self) -> Locks:
        pytest.importorskip("moto.server", reason="moto is not installed")
        from tests.lockers.test_dynamodb import moto_server

        server = self._stack.enter_context(moto_server(self._directories.mktemp("moto")))
        environment = {"AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{server.port}", **_aws()}
        return Locks(Part(["--locker", f"dynamodb://{server.table}"], environment))

    def _s3(self) -> Part:
        pytest.importorskip("boto3", reason="boto3 is not installed")
        from tests.servers import s3

        if "s3" not in self._arrivals:
            self._s3_proxy = Proxy(int(s3.seaweedfs().url.rpartition(":")[2]))
            self._stack.callback(self._s3_proxy.stop)
            self._arrivals["s3"] = Arrivals(self._s3_proxy)
        where = ["--s3-bucket", s3.BUCKET, "--s3-object-prefix", f"paused-{next(_numbers)}/"]
        url = f"http://127.0.0.1:{self._s3_proxy.port}"
        return Part([*where, "--s3-endpoint", url, "--s3-part-size", str(PIECE)], _aws())

    def _gcs(self) -> Part:
        pytest.importorskip("google.cloud.storage", reason="google-cloud-storage is not installed")
        from tests.servers.gcs import gcs_server

        if "gcs" not in self._arrivals:
            self._gcs_server = self._stack.enter_context(gcs_server(self._directories.mktemp("gcs")))
            self._arrivals["gcs"] = Arrivals(self._gcs_server.proxy)
        return Part(["--gcs-bucket", self._gcs_server.new_bucket(), "--gcs-endpoint", self._gcs_server.endpoint])

    def _azure(self) -> Part:
        pytest.importorskip("azure.storage.blob", reason="azure-storage-blob is not installed")
        from tests.servers.azurite import ACCOUNT, KEY, azure_server

        if "azure" not in self._arrivals:
            self._azure_server = self._stack.enter_context(azure_server(self._directories.mktemp("azure")))
            self._arrivals["azure"] = Arrivals(self._azure_server.proxy)
        flags = [
            "--azure-storage",
            self._azure_server.container().name,
            "--azure-endpoint",
            self._azure_server.endpoint,
        ]
        return Part(flags, {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY})


def _aws() -> dict[str, str]:
    from tests.servers import s3

    keys = {"AWS_ACCESS_KEY_ID": s3.KEY_ID, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    return {**keys, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Pair:
    """Two commands on one store. `one` is going to be paused."""

    one: Served
    other: Served
    storage: Storage
    lease: float


@contextmanager
def two_commands(store: str, locker: str, backends: Backends, directory: Path) -> Iterator[Pair]:
    storage, locks = backends.storage(store, directory), backends.locks(locker, store)
    flags = [*locks.part.flags, *storage.part.flags, "--lock-lease", str(locks.lease), "--acquire-lock-timeout", "20s"]
    environment = {**locks.part.environment, **storage.part.environment}
    with ExitStack() as stack:
        one, other = (stack.enter_context(Served(directory, *flags, environment=environment)) for _ in range(2))
        yield Pair(one, other, storage, locks.lease)


CAMPAIGN = bool(os.environ.get("TUSPY_SERVER_CAMPAIGN"))
SERVICES = ("redis", "etcd", "postgres", "consul", "dynamodb")
SAMPLE = [("file", "redis"), ("file", "etcd"), ("file", "postgres"), ("s3", "redis"), ("s3", "auto")]
ALL = [(store, locker) for store in ("file", "s3", "gcs", "azure") for locker in (*SERVICES, "auto")]
# Files with their own locker are one machine's.
PAIRS = [pair for pair in ALL if pair != ("file", "auto")] if CAMPAIGN else SAMPLE
