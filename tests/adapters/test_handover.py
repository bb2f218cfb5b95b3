"""Hand-over: a request for an upload in use ends the old one quickly and keeps its bytes (median of 20)."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.running import RunningServer, running
from tests.servers.wire import Wire, WireClient, eventually

ROUNDS = 20
SIZE = 1 << 33


def timed_head(client: WireClient, upload: str) -> tuple[float, int]:
    started = time.perf_counter()
    offset = client.offset(upload)
    return time.perf_counter() - started, offset


def uncontended(client: WireClient) -> float:
    upload = client.create(SIZE)
    return statistics.median(timed_head(client, upload)[0] for _ in range(ROUNDS))


class FastSender:
    """Sends as fast as the server takes it until the connection breaks or it is told to stop."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        block = bytes(1 << 18)
        try:
            while not self._stop.is_set():
                self._wire.send(block)
        except OSError:
            return

    def stop(self) -> None:
        self._stop.set()
        self._wire.reset()
        self._thread.join()


def contended(holder: RunningServer, asker: WireClient, *, fast: bool) -> list[float]:
    took = []
    for _ in range(ROUNDS):
        upload = holder.client.create(SIZE)
        wire = holder.client.begin_append(upload, 0, SIZE, b"x" * 100_000)
        path = holder.directory / upload.rpartition("/")[2]
        eventually(lambda path=path: path.stat().st_size >= 1 << 16)
        sender = FastSender(wire) if fast else None
        time.sleep(0.05)
        seconds, offset = timed_head(asker, upload)
        assert offset >= 100_000
        assert asker.append(upload, offset, b"more").status == 204
        took.append(seconds)
        if sender is None:
            assert wire.receive().status == 423
        else:
            sender.stop()
        assert asker.request("DELETE", upload).status == 204
    return took


@pytest.mark.parametrize("fast", [False, True], ids=["idle", "fast"])
def test_head_takes_over_within_a_process(server: RunningServer, fast: bool) -> None:
    client = server.client
    alone = uncontended(client)
    assert statistics.median(contended(server, client, fast=fast)) - alone < 0.1


@pytest.fixture(params=["uvicorn", "gunicorn-gthread"], scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Two servers that serve one directory."""
    directory: Path = tmp_path_factory.mktemp("shared") / "uploads"
    with ExitStack() as stack:
        yield [stack.enter_context(running(request.param, directory)) for _ in range(2)]


@pytest.mark.parametrize("fast", [False, True], ids=["idle", "fast"])
def test_head_takes_over_across_processes(pair: list[RunningServer], fast: bool) -> None:
    first, second = pair[0], pair[1].client
    alone = uncontended(second)
    assert statistics.median(contended(first, second, fast=fast)) - alone < 0.5


def test_a_delete_ends_a_running_append_and_nothing_rises_from_the_dead(server: RunningServer) -> None:
    client = server.client
    upload = client.create(SIZE)
    wire = client.begin_append(upload, 0, SIZE, b"x" * 100_000)
    time.sleep(0.1)
    assert client.request("DELETE", upload).status == 204
    assert wire.receive().status == 423
    assert client.head(upload).status == 410
    assert not (server.directory / upload.rpartition("/")[2]).exists()


def test_a_download_does_not_disturb_a_running_append(server: RunningServer) -> None:
    client = server.client
    upload = client.create(200_000)
    wire = client.begin_append(upload, 0, 200_000, b"x" * 100_000)
    time.sleep(0.1)
    assert client.get(upload).status == 204
    wire.send(b"y" * 100_000)
    assert wire.receive().status == 204
