"""Answers on the wire: early ones, those of clients that go away or are slow, and what a HEAD says."""

from __future__ import annotations

import base64
import contextlib
import socket
import time

import pytest

from tests.servers.running import RunningServer
from tests.servers.wire import APPEND, Wire, eventually

SENDS_100_REGARDLESS = {"gunicorn-gthread", "hypercorn-trio"}


def begin_download(server: RunningServer, target: str, *, window: int) -> socket.socket:
    """A GET whose client takes at most `window` bytes ahead of its reading."""
    sock = socket.socket()
    sock.settimeout(15)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.connect(("127.0.0.1", server.port))
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return sock


def test_a_silent_clients_connection_is_closed(server: RunningServer) -> None:
    upload = server.client.create(100_000)
    wire = server.client.begin_append(upload, 0, 100_000, b"x" * 100)
    assert wire.receive().status == 500
    with pytest.raises((ConnectionError, OSError), match=r"closed|reset"):
        wire.receive()


def test_an_unacceptable_creation_is_answered_instead_of_asked_for_its_body(server: RunningServer) -> None:
    if server.name in SENDS_100_REGARDLESS:
        pytest.skip("this server answers Expect: 100-continue itself")
    wire = Wire(server.port)
    headers = {**APPEND, "Upload-Length": "10", "Content-Length": "100000", "Expect": "100-continue"}
    wire.send_head("POST", "/files", headers)
    assert wire.receive().status == 413


def test_a_client_that_leaves_after_a_download_harms_nobody(server: RunningServer) -> None:
    client = server.client
    upload = client.create(2_000_000, b"x" * 2_000_000)
    for _ in range(5):
        with begin_download(server, upload, window=1 << 14) as sock:
            assert sock.recv(1000)
    assert client.get(upload).body == b"x" * 2_000_000


def test_downloads_of_any_name_leave_no_descriptor_open(server: RunningServer) -> None:
    client = server.client
    name = base64.b64encode("файл ü.txt".encode()).decode()
    upload = client.create(5, b"hello", upload_metadata=f"filename {name}")
    for _ in range(3):
        answer = client.get(upload)
    assert (answer.status, answer.body) == (200, b"hello")
    assert "filename*=UTF-8''%D1%84" in answer["content-disposition"]
    before = server.descriptors()
    for _ in range(31):
        client.get(upload)
    eventually(lambda: server.descriptors() <= before + 2)


def test_a_slow_download_is_not_cut_by_a_deadline_for_bodies(server: RunningServer) -> None:
    client = server.client
    size = 24 << 20
    upload = client.create(size, bytes(size))
    received = 0
    started = time.monotonic()
    with begin_download(server, upload, window=1 << 16) as sock:
        while time.monotonic() - started < 2.5:  # more than twice the network timeout of these servers
            received += len(sock.recv(1 << 14))
            time.sleep(0.05)
        while piece := sock.recv(1 << 20):
            received += len(piece)
    assert received > size


def test_head_of_a_complete_upload_says_its_size(server: RunningServer) -> None:
    with server.client.connected() as wire:
        created = wire.request("POST", "/files", {**APPEND, "Upload-Length": "5"}, b"hello")
        complete = wire.request("HEAD", created["location"])
        assert (complete.status, complete.offset, complete["content-length"]) == (200, 5, "5")
        assert wire.request("GET", created["location"]).body == b"hello"


def test_a_refusal_is_readable_for_a_client_that_still_sends_fifty_megabytes(server: RunningServer) -> None:
    client = server.client
    upload = client.create(10)
    wire = client.begin_append(upload, 0, 50 << 20)
    block = bytes(1 << 20)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server reads on for a while only
        for _ in range(50):
            wire.send(block)
    assert wire.receive().status == 413
    assert client.offset(upload) == 0


@pytest.mark.parametrize("hostile", ["http://[", "//[x", "/files/\x00"])
def test_a_broken_part_url_is_an_answer_and_no_crash(server: RunningServer, hostile: str) -> None:
    try:
        answer = server.client.request("POST", "/files", {"Upload-Concat": f"final;{hostile}"})
    except (ConnectionError, TimeoutError):
        pytest.fail("the connection was dropped")
    assert answer.status in (400, 404)
