"""Many clients at once: stalled ones cost no threads, and a stuck store delays nobody else."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from tests.servers.running import running
from tests.servers.wire import Wire, WireClient, eventually

STALLED = 1000


@pytest.fixture(autouse=True)
def _enough_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def stalled(client: WireClient, count: int, first: bytes = b"x" * 1000) -> list[Wire]:
    return [client.begin_append(client.create(1 << 20), 0, 1 << 20, first) for _ in range(count)]


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn-trio"])
def test_a_thousand_stalled_uploads_hold_no_threads_and_little_memory(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path / "uploads", network_timeout=120.0) as server:
        client = server.client
        warm = stalled(client, 20)
        eventually(lambda: len(list(server.directory.glob("*.info"))) >= 20)
        threads, memory = server.threads(), server.memory()
        wires = stalled(client, STALLED)
        time.sleep(0.5)
        started = time.perf_counter()
        created = client.create(5, b"hello")
        took = time.perf_counter() - started
        assert client.get(created).body == b"hello"
        assert server.threads() - threads <= 40
        assert (server.memory() - memory) / STALLED < 50 * 1024
        assert took < 1
        for wire in warm + wires:
            wire.finish()


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn-trio"])
def test_a_stuck_store_does_not_delay_another_uploads_head(name: str, tmp_path: Path) -> None:
    stuck = tmp_path / "stuck"
    with running(name, tmp_path / "uploads", environment={"TUSPY_TEST_STUCK": str(stuck)}) as server:
        client = server.client
        other = client.create(10)
        alone = min(_timed_head(client, other) for _ in range(10))
        stuck.touch()
        wires = stalled(client, 100, b"x" * 100_000)
        time.sleep(1)
        assert min(_timed_head(client, other) for _ in range(10)) - alone < 0.1
        stuck.unlink()
        for wire in wires:
            wire.finish()


def _timed_head(client: WireClient, upload: str) -> float:
    started = time.perf_counter()
    assert client.head(upload).status == 200
    return time.perf_counter() - started


def test_a_large_append_needs_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    size = 300 << 20
    block = bytes(1 << 20)
    with running("uvicorn", tmp_path / "uploads") as server:
        client = server.client
        upload = client.create(size)
        client.append(client.create(5 << 20), 0, bytes(5 << 20))
        before = server.memory()
        wire = client.begin_append(upload, 0, size)
        peak = 0
        for _ in range(300):
            wire.send(block)
            peak = max(peak, server.memory())
        assert wire.receive().status == 204
        assert peak - before <= 16 << 20
