"""The sweep beside running uploads: what is in use, or just arrived, is never removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.running import running
from tests.servers.wire import APPEND, Wire
from tuspy_server import Config, FileStore, WSGIApp
from tuspy_server.engine.sweeping import Swept


@contextmanager
def swept_each_tenth_of_a_second(directory: Path) -> Iterator[list[Swept]]:
    """Another process' sweep, as far as the locks and files can tell."""
    app = WSGIApp(FileStore(directory), Config(expires_after=1, sliding=True))
    done = threading.Event()
    acted: list[Swept] = []

    def sweep() -> None:
        while not done.wait(0.1):
            acted.extend(swept for swept in app.sweep() if swept.action == "removed")

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield acted
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn-gthread"])
def test_a_creation_slower_than_its_expiry_is_intact(server: str, tmp_path: Path) -> None:
    pieces = [bytes([number]) * 100_000 for number in range(10)]
    size = sum(map(len, pieces))
    with (
        running(server, tmp_path / "uploads", expires_after=1, sliding=True) as served,
        swept_each_tenth_of_a_second(tmp_path / "uploads") as acted,
    ):
        wire = Wire(served.port)
        wire.send_head("POST", "/files", {**APPEND, "Upload-Length": str(size), "Content-Length": str(size)})
        for piece in pieces:
            wire.send(piece)
            time.sleep(0.5)
        created = wire.receive()
        assert (created.status, created.offset) == (201, size)
        time.sleep(1.5)
        assert served.client.get(created["location"]).body == b"".join(pieces)
        assert acted == []


def test_an_abandoned_upload_is_removed_while_others_run(tmp_path: Path) -> None:
    with (
        running("uvicorn", tmp_path / "uploads", expires_after=1, sliding=True) as served,
        swept_each_tenth_of_a_second(tmp_path / "uploads") as acted,
    ):
        client = served.client
        abandoned, running_on = client.create(10), client.create(3_000_000)
        wire = client.begin_append(running_on, 0, 3_000_000)
        for _ in range(30):
            wire.send(bytes(100_000))
            time.sleep(0.1)
        assert wire.receive().status == 204
        assert client.head(abandoned).status == 410
        assert [swept.id for swept in acted] == [abandoned.rpartition("/")[2]]
