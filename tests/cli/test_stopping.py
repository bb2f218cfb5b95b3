"""How the command ends, and how its workers do."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.command import PATIENCE, Served, wait_until_stored

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

HALF = b"h" * 300_000


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_keeps_the_bytes_of_a_running_upload_and_answers_503(tmp_path: Path, workers: str) -> None:
    with Served(tmp_path, "--workers", workers) as served:
        url = served.create(2 * len(HALF))
        with served.begin_append(url, HALF, 2 * len(HALF)) as client:
            wait_until_stored(tmp_path, len(HALF))
            served.signal()
            assert client.recv(20).startswith(b"HTTP/1.1 503 ")
        assert served.wait() == 0
        assert served.lines[-1].endswith("stopped")
    with Served(tmp_path) as again:
        assert again.offset(f"{again.url}{url.rpartition('/')[2]}") == len(HALF)


def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Served(tmp_path, "--shutdown-timeout", "60s") as served, served.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(20)
        served.signal(signal.SIGINT)
        assert served.wait() == 0


def test_nothing_is_accepted_after_sigterm(tmp_path: Path) -> None:
    with Served(tmp_path, "--shutdown-timeout", "60s") as served, _stuck_download(served):
        served.signal()
        served.wait_for("stopping")
        with pytest.raises(OSError, match="refused"):
            _until_refused(served)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_at_once(tmp_path: Path, workers: str) -> None:
    with Served(tmp_path, "--shutdown-timeout", "60s", "--workers", workers) as served, _stuck_download(served):
        served.signal()
        served.wait_for("stopping")
        served.signal()
        assert served.wait() == 1


def test_requests_that_do_not_end_are_ended_by_the_shutdown_timeout(tmp_path: Path) -> None:
    with Served(tmp_path, "--shutdown-timeout", "1s") as served, _stuck_download(served):
        served.signal()
        assert served.wait() == 0


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with Served(tmp_path, "--workers", "2") as served:
        served.wait_for("worker started", 2)
        victim = served.wait_for(r"worker started .*worker=1 .*pid=(\d+)")
        os.kill(int(victim[1]), signal.SIGKILL)
        served.wait_for("is replaced")
        replacement = served.wait_for(r"worker started .*worker=1 .*pid=(\d+)", 2)
        assert replacement[1] != victim[1]
        assert served.request("GET", served.upload(b"hello"))[2] == b"hello"


def test_workers_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    with Served(tmp_path, "--workers", "2") as served:
        served.wait_for("worker started", 2)
        served.signal(signal.SIGKILL)
        with pytest.raises(OSError, match="refused"):
            _until_refused(served)


def _stuck_download(served: Served) -> socket.socket:
    """A client that asks for more than buffers hold and reads nothing."""
    url = served.upload(bytes(32 << 20))
    client = served.connect()
    client.sendall(f"GET {urlsplit(url).path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert client.recv(20).startswith(b"HTTP/1.1 200 ")
    return client


def _until_refused(served: Served) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        served.connect().close()
        time.sleep(0.02)
