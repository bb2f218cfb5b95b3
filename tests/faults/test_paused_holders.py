"""A process that is stopped while it holds a lock, until the lease is over and another has taken the upload over.

Both sides send different bytes, so that whatever is mixed shows: behind every 2xx are the bytes of whoever got it.

A sample of the pairs of store and locker, once; with TUSPY_SERVER_CAMPAIGN=1 all that are recommended, five times.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.cli.command import APPEND, PATIENCE, Served
from tests.faults.pairs import CAMPAIGN, PAIRS, PIECE, Backends, Pair, two_commands

pytest.importorskip("boto3", reason="boto3 is not installed")

from tests.servers.s3 import close_clients as close_clients

SENT = PIECE + 100_000
SIZE = 2 * PIECE + 300_000
OWN, OTHER = bytes([1]), bytes([2])


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    with ExitStack() as stack:
        yield Backends(stack, tmp_path_factory)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(
    request: pytest.FixtureRequest, backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    store, locker = request.param
    with two_commands(store, locker, backends, tmp_path_factory.mktemp("uploads")) as pair:
        yield pair


def await_first_bytes(pair: Pair, url: str) -> None:
    """Until the store has something of the upload."""
    deadline = time.monotonic() + PATIENCE
    while not pair.storage.has_bytes(url.rpartition("/")[2]):
        assert time.monotonic() < deadline, pair.one.lines
        time.sleep(0.02)


def offset_by_other(pair: Pair, url: str) -> int:
    """What the other process tells once the lock is its own."""
    deadline = time.monotonic() + PATIENCE + 2 * pair.lease
    while True:
        status, headers, _ = pair.other.request("HEAD", url)
        if status == 200:
            return int(headers["Upload-Offset"])
        assert status == 423
        assert time.monotonic() < deadline, pair.other.lines


def append(served: Served, url: str, offset: int, body: bytes) -> tuple[int, int | None]:
    """Status of a PATCH, and the offset it tells."""
    status, headers, _ = served.request("PATCH", url, {**APPEND, "Upload-Offset": str(offset)}, body)
    told = headers["Upload-Offset"]
    return status, None if told is None else int(told)


def append_by_other(pair: Pair, url: str, offset: int, body: bytes) -> tuple[int, int | None]:
    """The same by the other process, repeated after 423 as clients do: its lock service may be slow to answer."""
    here, deadline = address_at(pair.other, url), time.monotonic() + PATIENCE
    while True:
        status, told = append(pair.other, here, offset, body)
        if status != 423 or pair.storage.locks_files or time.monotonic() > deadline:
            return status, told


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


@pytest.mark.parametrize("time_number", range(5 if CAMPAIGN else 1))
def test_a_holder_paused_in_a_body_puts_no_wrong_byte_behind_a_success(pair: Pair, time_number: int) -> None:
    urls = [pair.one.create(SIZE) for _ in range(2)]
    clients = [pair.one.begin_append(url, OWN * SENT, SIZE) for url in urls]
    for url in urls:
        await_first_bytes(pair, url)
    pair.one.signal(signal.SIGSTOP)
    try:
        for client in clients:
            client.setblocking(False)
            client.send(OWN * 65536)  # what it finds in its socket when it wakes up
        offsets = [offset_by_other(pair, url) for url in urls]
        finishing, halving = urls
        half = (SIZE - offsets[1]) // 2
        taken = [append_by_other(pair, finishing, offsets[0], OTHER * (SIZE - offsets[0]))]
        taken += [append_by_other(pair, halving, offsets[1], OTHER * half)]
    finally:
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
        else:  # the paused process has the data file locked until it wakes up
            assert (pair.storage.locks_files, status) == (True, 423)
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
