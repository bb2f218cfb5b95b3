"""Bodies that the kernel moves from the socket to the file: the same promises as for those that are read."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.running import RunningServer, running
from tests.servers.wire import APPEND, Wire, eventually

SIZE = 4 << 20
BODY = os.urandom(SIZE)


@pytest.fixture(params=["uvicorn", "uvicorn-asyncio"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(request.param, tmp_path_factory.mktemp("moved") / "uploads", network_timeout=1.0) as found:
        yield found


def pipes(server: RunningServer) -> int:
    fds = Path(f"/proc/{server.process.pid}/fd")
    return sum(os.readlink(fd).startswith("pipe:") for fd in fds.iterdir() if fd.is_symlink())


def test_bodies_are_moved_by_the_kernel(server: RunningServer) -> None:
    client = server.client
    upload = client.create(SIZE)
    before = pipes(server)
    wire = client.begin_append(upload, 0, SIZE, BODY[: SIZE // 2])
    eventually(lambda: pipes(server) == before + 2)
    wire.send(BODY[SIZE // 2 :])
    assert wire.receive().status == 204
    eventually(lambda: pipes(server) == before)


def test_what_the_parser_holds_already_comes_first(server: RunningServer) -> None:
    client = server.client
    for first in (0, 1, 1000, 60_000, 200_000, SIZE):
        upload = client.create(SIZE)
        wire = Wire(server.port)
        head = f"PATCH {upload} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += f"Content-Type: {APPEND['Content-Type']}\r\nContent-Length: {SIZE}\r\n\r\n"
        wire.send(head.encode() + BODY[:first])
        time.sleep(0.05)
        wire.send(BODY[first:])
        assert wire.receive().status == 204
        assert client.get(upload).body == BODY


def test_the_connection_lives_on_after_a_moved_body(server: RunningServer) -> None:
    with server.client.connected() as wire:
        for _ in range(3):
            created = wire.request("POST", "/files", {**APPEND, "Upload-Length": str(2 * SIZE)}, BODY)
            appended = wire.request("PATCH", created["location"], {**APPEND, "Upload-Offset": str(SIZE)}, BODY)
            fetched = wire.request("GET", created["location"], {"Range": f"bytes={SIZE - 5}-{SIZE + 4}"})
            assert (created.status, appended.status, fetched.body) == (201, 204, BODY[-5:] + BODY[:5])


def test_a_pipelined_request_is_not_moved_into_the_file(server: RunningServer) -> None:
    client = server.client
    upload = client.create(SIZE)
    wire = client.begin_append(upload, 0, SIZE)
    head = f"HEAD {upload} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    wire.send(BODY + head)
    assert wire.receive().status == 204
    assert wire.receive(head=True).offset == SIZE
    assert client.get(upload).body == BODY


def test_nothing_stays_in_the_pipe_when_an_append_is_interrupted(server: RunningServer) -> None:
    client = server.client
    upload = client.create(1 << 30)
    wire = client.begin_append(upload, 0, 1 << 30, BODY[: SIZE - 1000])
    path = server.directory / upload.rpartition("/")[2]
    eventually(lambda: path.stat().st_size == SIZE - 1000)
    offset = client.offset(upload)
    assert wire.receive().status == 423
    assert offset == path.stat().st_size == SIZE - 1000
    assert path.read_bytes() == BODY[: SIZE - 1000]


def test_a_full_disk_in_the_middle_of_a_move_keeps_the_truth(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount]).returncode:
        pytest.skip("a small file system needs root")
    try:
        with running("uvicorn", mount / "uploads") as server:
            client = server.client
            upload = client.create(SIZE)
            assert client.append(upload, 0, BODY).status == 507
            offset = client.offset(upload)
            assert 1 << 20 <= offset < 2 << 20
            assert (server.directory / upload.rpartition("/")[2]).read_bytes() == BODY[:offset]
    finally:
        subprocess.run(["umount", mount], check=True)


def test_no_thread_waits_for_a_slow_client(server: RunningServer) -> None:
    client = server.client
    wires = [client.begin_append(client.create(SIZE), 0, SIZE, BODY[:1000]) for _ in range(5)]
    time.sleep(0.3)
    before = server.threads()
    wires += [client.begin_append(client.create(SIZE), 0, SIZE, BODY[:1000]) for _ in range(60)]
    time.sleep(0.3)
    assert server.threads() - before <= 20
    for wire in wires:
        wire.finish()


def test_expect_100_continue_is_answered(server: RunningServer) -> None:
    client = server.client
    upload = client.create(SIZE)
    wire = Wire(server.port)
    wire.send_head(
        "PATCH", upload, {**APPEND, "Upload-Offset": "0", "Content-Length": str(SIZE), "Expect": "100-continue"}
    )
    assert wire.receive().status == 100
    wire.send(BODY)
    assert wire.receive().status == 204
    assert client.get(upload).body == BODY


def test_a_checksummed_body_is_not_moved(server: RunningServer) -> None:
    client = server.client
    upload = client.create(SIZE)
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    headers = {**APPEND, "Upload-Offset": "0", "Upload-Checksum": f"sha256 {digest}"}
    assert client.request("PATCH", upload, headers, BODY).status == 204
    assert client.get(upload).body == BODY


def test_one_setting_switches_it_off(tmp_path: Path) -> None:
    with running("uvicorn", tmp_path / "uploads", kernel_moves=False) as server:
        client = server.client
        upload = client.create(SIZE)
        before = pipes(server)
        wire = client.begin_append(upload, 0, SIZE, BODY[: SIZE // 2])
        time.sleep(0.3)
        assert pipes(server) == before
        wire.send(BODY[SIZE // 2 :])
        assert wire.receive().status == 204
        assert client.get(upload).body == BODY
