"""Clients that go away or fall silent: what arrived is kept, the upload is free at once, nothing completes early.

What is stored is looked up in the directory: a HEAD would end a running append before it has read everything.
"""

from __future__ import annotations

import os
import time

from tests.servers.running import RunningServer
from tests.servers.wire import APPEND, Wire, eventually

# gunicorn's threads read a fixed amount at a time; a reset loses the read in flight (SMALLEST_READ).
LOST_BY_RESET = {"gunicorn-gthread": 64 << 10}
BODY = os.urandom(1 << 20)


def test_bytes_received_before_an_orderly_close_are_kept(server: RunningServer) -> None:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, len(BODY), BODY[:300_000])
    wire.finish()
    eventually(lambda: _stored(server, upload) == 300_000)
    assert client.append(upload, 300_000, BODY[300_000:]).status == 204
    assert client.get(upload).body == BODY


def test_bytes_received_before_a_reset_are_kept(server: RunningServer) -> None:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, len(BODY), BODY[:300_000])
    eventually(lambda: _stored(server, upload) > 0)
    before = _settled(server, upload)
    wire.reset()
    offset = client.offset(upload)
    assert before <= offset <= 300_000
    assert offset >= 300_000 - LOST_BY_RESET.get(server.name, 0)
    assert client.append(upload, offset, BODY[offset:]).status == 204
    assert client.get(upload).body == BODY


def test_a_silent_client_is_let_go_after_the_timeout_and_its_bytes_are_kept(server: RunningServer) -> None:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, len(BODY), BODY[:300_000])
    answer = wire.receive()
    assert answer.status == 500
    assert b"ERR_READ_TIMEOUT" in answer.body
    assert client.offset(upload) >= 300_000 - LOST_BY_RESET.get(server.name, 0)


def test_a_trickling_client_is_not_silent(server: RunningServer) -> None:
    client = server.client
    upload = client.create(8)
    wire = client.begin_append(upload, 0, 8)
    for byte in b"trickles":
        wire.send(bytes([byte]))
        _pause(0.25)
    assert wire.receive().status == 204
    assert client.get(upload).body == b"trickles"


def test_a_truncated_chunked_body_is_an_interruption(server: RunningServer) -> None:
    client = server.client
    upload = client.create(None)
    wire = client.begin_append(upload, 0, None, b"hello")
    wire.finish()
    eventually(lambda: _stored(server, upload) == 5)
    assert client.offset(upload) == 5
    assert client.head(upload)["upload-defer-length"] == "1"


def test_a_truncated_last_append_does_not_complete_the_upload(server: RunningServer) -> None:
    client = server.client
    upload = client.create(None)
    wire = Wire(server.port)
    headers = {**APPEND, "Upload-Offset": "0", "Upload-Length": "10", "Content-Length": "10"}
    wire.send_head("PATCH", upload, headers)
    wire.send(b"hello")
    wire.finish()
    eventually(lambda: _stored(server, upload) == 5)
    assert client.offset(upload) == 5
    assert client.get(upload).status == 204


def test_a_small_body_that_is_cut_keeps_its_prefix(server: RunningServer) -> None:
    client = server.client
    upload = client.create(1000)
    wire = client.begin_append(upload, 0, 1000, b"x" * 400)
    wire.finish()
    eventually(lambda: _stored(server, upload) == 400)
    assert client.offset(upload) == 400


def test_a_creation_that_is_cut_leaves_no_lock_behind(server: RunningServer) -> None:
    before = set(server.directory.iterdir())
    wire = Wire(server.port)
    wire.send_head("POST", "/files", {**APPEND, "Upload-Length": "1000000", "Content-Length": "1000000"})
    wire.send(b"x" * 100_000)
    eventually(lambda: set(server.directory.iterdir()) - before)
    wire.reset()
    (name,) = {path.name for path in set(server.directory.iterdir()) - before if "." not in path.name}
    eventually(lambda: server.client.head(f"/files/{name}").status == 200)


def test_an_early_refusal_is_readable_while_the_client_still_sends(server: RunningServer) -> None:
    client = server.client
    upload = client.create(10)
    answer = client.append(upload, 0, b"x" * 5_000_000)
    assert answer.status == 413
    assert client.offset(upload) == 0


def test_a_chunked_body_of_a_known_upload_is_stored(server: RunningServer) -> None:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, None)
    for start in range(0, len(BODY), 100_000):
        wire.send_chunk(BODY[start : start + 100_000])
    wire.send_chunk(b"")
    assert wire.receive().status == 204
    assert client.get(upload).body == BODY


def test_a_connection_serves_many_requests(server: RunningServer) -> None:
    with server.client.connected() as wire:
        created = wire.request("POST", "/files", {**APPEND, "Upload-Length": "10"}, b"hello")
        appended = wire.request("PATCH", created["location"], {**APPEND, "Upload-Offset": "5"}, b"world")
        fetched = wire.request("GET", created["location"])
    assert (created.status, appended.status, fetched.body) == (201, 204, b"helloworld")


def _stored(server: RunningServer, upload: str) -> int:
    return (server.directory / upload.rpartition("/")[2]).stat().st_size


def _settled(server: RunningServer, upload: str) -> int:
    """What the server has stored once it stores no more for a moment."""
    before = -1
    while (now := _stored(server, upload)) != before:
        before = now
        _pause(0.3)
    return now


def _pause(seconds: float) -> None:
    """Let the wall clock of another process go on: there is no event to wait for."""
    time.sleep(seconds)
