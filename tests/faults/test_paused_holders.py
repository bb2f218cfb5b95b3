"""A process that is stopped while it holds a lock, until the lease is over and another has taken the upload over.

Both sides send different bytes, so that whatever is mixed shows: behind every 2xx are the bytes of whoever got it.
"""

from __future__ import annotations

import itertools
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import APPEND, PATIENCE, Served
from tests.servers import s3 as servers
from tests.servers.ports import free_port
from tests.servers.proxy import Proxy
from tests.servers.s3 import close_clients as close_clients

pytest.importorskip("boto3", reason="boto3 is not installed")

LEASE = 2.0
PART = 5 << 20
SIZE = 2 * PART + 300_000
SENT = PART + 100_000
OWN, OTHER = bytes([1]), bytes([2])

_numbers = itertools.count()


@pytest.fixture(scope="module")
def lockers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], list[str]]]:
    """Flags of a locker by its name; its server is started on first use."""
    with ExitStack() as stack:
        started: dict[str, str] = {}

        def flags(name: str) -> list[str]:
            if name not in started:
                started[name] = _start(name, tmp_path_factory, stack)
            return ["--locker", started[name], "--lock-lease", str(LEASE)]

        yield flags


def _start(name: str, directories: pytest.TempPathFactory, stack: ExitStack) -> str:
    port = free_port()
    if name == "redis":
        pytest.importorskip("redis", reason="redis is not installed")
        from tests.lockers.test_redis import redis_server

        stack.enter_context(redis_server(directories.mktemp("redis"), port))
        return f"redis://127.0.0.1:{port}"
    if name == "etcd":
        from tests.lockers.test_etcd import etcd_server

        stack.enter_context(etcd_server(directories.mktemp("etcd"), port))
        return f"etcd://127.0.0.1:{port}"
    if name == "postgres":
        pytest.importorskip("psycopg", reason="psycopg is not installed")
        from tests.lockers.test_postgres import postgres_server

        directory = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(postgres_server(Path(directory), port))
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"
    return "auto"


@dataclass
class Pair:
    """Two commands on one store. `one` is going to be paused; `proxy` is between it and its bucket, if it has one."""

    one: Served
    other: Served
    proxy: Proxy | None
    directory: Path

    def await_first_bytes(self, url: str) -> None:
        """Until the store has something of the upload."""
        deadline = time.monotonic() + PATIENCE
        while not self._has_first_bytes(url.rpartition("/")[2]):
            assert time.monotonic() < deadline, self.one.lines
            time.sleep(0.02)

    def _has_first_bytes(self, upload_id: str) -> bool:
        if self.proxy is None:
            return (self.directory / upload_id).stat().st_size == SENT
        uploads = servers.seaweedfs().client().list_multipart_uploads(Bucket=servers.BUCKET).get("Uploads", [])
        (found,) = (each for each in uploads if each["Key"].endswith(upload_id))
        parts = (
            servers.seaweedfs().client().list_parts(Bucket=servers.BUCKET, Key=found["Key"], UploadId=found["UploadId"])
        )
        return bool(parts.get("Parts"))

    def offset_by_other(self, url: str) -> int:
        """What the other process tells once the lock is its own."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status, headers, _ = self.other.request("HEAD", url)
            if status == 200:
                return int(headers["Upload-Offset"])
            assert status == 423
            assert time.monotonic() < deadline, self.other.lines


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path, lockers: Callable[[str], list[str]]) -> Iterator[Pair]:
    store, locker = request.param
    with ExitStack() as stack:
        proxy = None
        flags = [*lockers(locker), "--acquire-lock-timeout", "20s"]
        both: list[list[str]] = [flags, flags]
        environment = {"AWS_REGION": "us-east-1"}
        if store == "s3":
            server = servers.seaweedfs()
            proxy = Proxy(int(server.url.rpartition(":")[2]))
            stack.callback(proxy.stop)
            environment |= {"AWS_ACCESS_KEY_ID": servers.KEY_ID, "AWS_SECRET_ACCESS_KEY": servers.SECRET}
            bucket = ["--s3-bucket", servers.BUCKET, "--s3-part-size", "5MiB"]
            bucket += ["--s3-object-prefix", f"paused-{next(_numbers)}/"]
            urls = (f"http://127.0.0.1:{proxy.port}", server.url)
            both = [[*flags, *bucket, "--s3-endpoint", url] for url in urls]
        one, other = (stack.enter_context(Served(tmp_path, *each, environment=environment)) for each in both)
        yield Pair(one, other, proxy, tmp_path)


def append(served: Served, url: str, offset: int, body: bytes) -> tuple[int, int | None]:
    """Status of a PATCH, and the offset it tells."""
    status, headers, _ = served.request("PATCH", url, {**APPEND, "Upload-Offset": str(offset)}, body)
    told = headers["Upload-Offset"]
    return status, None if told is None else int(told)


def address_at(served: Served, url: str) -> str:
    return f"{served.url}{url.rpartition('/')[2]}"


def answer_to(client: socket.socket) -> int | None:
    """The status of the last answer on the connection, None if it ended without one."""
    client.settimeout(PATIENCE)
    answer = b""
    with suppress(ConnectionError):
        while b"\r\n\r\n" not in answer and (more := client.recv(65536)):
            answer += more
    return int(answer.split()[1]) if answer else None


PAIRS = [("file", "redis"), ("file", "etcd"), ("file", "postgres"), ("s3", "redis")]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join, indirect=True)
def test_a_holder_paused_in_a_body_puts_no_wrong_byte_behind_a_success(pair: Pair) -> None:
    urls = [pair.one.create(SIZE) for _ in range(2)]
    clients = [pair.one.begin_append(url, OWN * SENT, SIZE) for url in urls]
    for url in urls:
        pair.await_first_bytes(url)
    pair.one.signal(signal.SIGSTOP)
    for client in clients:
        client.setblocking(False)
        client.send(OWN * 65536)  # what it finds in its socket when it wakes up
    offsets = [pair.offset_by_other(url) for url in urls]
    finishing, halving = urls
    half = (SIZE - offsets[1]) // 2
    taken = [append(pair.other, address_at(pair.other, finishing), offsets[0], OTHER * (SIZE - offsets[0]))]
    taken += [append(pair.other, address_at(pair.other, halving), offsets[1], OTHER * half)]
    pair.one.signal(signal.SIGCONT)
    for client in clients:
        client.settimeout(PATIENCE)
        _send(client, OWN * (SIZE - SENT - 65536))
        assert (answer_to(client) or 500) >= 300, pair.one.lines
        client.close()
    for url, offset, (status, told) in zip(urls, offsets, taken, strict=True):
        if status == 204:
            assert told is not None
            reached = told
        else:  # files: the paused process has the data file locked until it wakes up
            assert (pair.proxy, status) == (None, 423)
            reached = offset
        complete_by(pair.one, url, offset, reached)


def complete_by(served: Served, url: str, taken_over: int, reached: int) -> None:
    """Send what is missing to the process that was paused, and compare every byte."""
    here = address_at(served, url)
    offset = served.offset(here)
    assert offset == reached
    if offset < SIZE:
        assert append(served, here, offset, OTHER * (SIZE - offset)) == (204, SIZE), "\n".join(served.lines)
    assert served.request("GET", here)[2] == OWN * taken_over + OTHER * (SIZE - taken_over)


def _send(client: socket.socket, body: bytes) -> None:
    with suppress(OSError):
        client.sendall(body)
