"""What clients do to a server, one function each.

A scenario asserts what holds on every server, and returns what the server allows: "yes" if it is all that can be
had, else in a few words what instead. `tests/interop/table.py` makes the table of docs/servers.md of that.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import TimeoutExpired
from urllib.parse import urlsplit

from tests.servers.running import RunningServer, running
from tests.servers.wire import APPEND, Wire, WireAnswer, eventually

SILENCE = 1.5  # the server's network_timeout, in seconds
PATIENCE = 1.5  # its acquire_lock_timeout
MAX_SIZE = 32 << 20
YES = "yes"

BODY = os.urandom(1 << 20)
PART = 300_000
SMALLEST_READ = 64 << 10
ORIGIN = {"Origin": "https://app.example", "Access-Control-Request-Method": "PATCH"}

Scenario = Callable[[RunningServer], str]
SCENARIOS: dict[str, Scenario] = {}


@contextmanager
def observing(name: str, place: Path) -> Iterator[RunningServer]:
    """A server of that name, set as the scenarios take it to be."""
    place.mkdir(exist_ok=True)
    with running(
        name,
        place / "uploads",
        events=str(place / "events"),
        chosen_ids=True,
        network_timeout=SILENCE,
        acquire_lock_timeout=PATIENCE,
        max_size=MAX_SIZE,
        trusted_proxies=["127.0.0.1"],
        interim_responses=True,
    ) as server:
        yield server


def scenario(title: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[title] = function
        return function

    return register


def stored(server: RunningServer, upload: str) -> int:
    """Bytes in the file, if there is one: a HEAD would end a running append."""
    path = server.directory / upload.rpartition("/")[2]
    return path.stat().st_size if path.exists() else 0


def awaited(server: RunningServer, upload: str, size: int, within: float = 1.0) -> int:
    """What is stored once it is `size` bytes, or what there is after a while."""
    deadline = time.monotonic() + within
    while (found := stored(server, upload)) < size and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def resumed(server: RunningServer, upload: str, offset: int, body: bytes = BODY) -> None:
    """Go on from the offset; afterwards every byte is right."""
    client = server.client
    assert client.append(upload, offset, body[offset:]).status == 204
    assert client.get(upload).body == body


def refused(wire: Wire) -> WireAnswer | None:
    """The answer to a request that was interrupted; None where the connection just ended."""
    try:
        return wire.receive()
    except OSError:
        return None


@scenario("discovery")
def discovery(server: RunningServer) -> str:
    answer = server.client.request("OPTIONS", "/files")
    assert (answer.status, answer["tus-version"]) == (200, "1.0.0")
    assert {"creation", "termination", "checksum", "concatenation"} <= set(answer["tus-extension"].split(","))
    return YES


@scenario("preflight at the collection, with and without a slash, and at an upload")
def preflight(server: RunningServer) -> str:
    for target in ("/files", "/files/", server.client.create(1)):
        answer = server.client.request("OPTIONS", target, ORIGIN)
        assert (answer.status, answer["access-control-allow-origin"]) == (200, "*")
        assert "PATCH" in answer["access-control-allow-methods"]
    return YES


@scenario("creation at the collection, with and without a slash")
def both_urls(server: RunningServer) -> str:
    for target in ("/files", "/files/"):
        answer = server.client.request("POST", target, {"Upload-Length": "1"})
        assert answer.status == 201
        assert answer["location"].startswith(f"http://127.0.0.1:{server.port}/files/")
    return YES


@scenario("ids that are named as the mount")
def named_ids(server: RunningServer) -> str:
    for name in ("f", "file", "files"):
        upload = server.client.create(5, b"hello", X_Test_Id=name)
        assert upload == f"/files/{name}"
        assert server.client.get(upload).body == b"hello"
    return YES


@scenario("Location names the host that was asked")
def location_host(server: RunningServer) -> str:
    answer = server.client.request("POST", "/files", {"Upload-Length": "1", "Host": "files.example"})
    assert answer["location"].startswith("http://files.example/files/")
    return YES


@scenario("Location names the origin that a trusted proxy tells")
def location_proxy(server: RunningServer) -> str:
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "files.example",
        "X-Forwarded-For": "203.0.113.7",
    }
    answer = server.client.request("POST", "/files", {"Upload-Length": "1", **forwarded})
    assert answer["location"].startswith("https://files.example/files/")
    return YES


@scenario("an encoded slash separates nothing")
def encoded_slash(server: RunningServer) -> str:
    upload = server.client.create(1)
    name = upload.rpartition("/")[2]
    assert server.client.head(f"/files/x%2F{name}").status == 404
    return YES if server.client.head(f"/files%2F{name}").status == 404 else "no"


@scenario("metadata comes back")
def metadata(server: RunningServer) -> str:
    value = "filename " + base64.b64encode("jö.jpg".encode()).decode() + ",empty"
    upload = server.client.create(1, Upload_Metadata=value)
    assert server.client.head(upload)["upload-metadata"] == value
    return YES


@scenario("PATCH and DELETE by X-HTTP-Method-Override")
def method_override(server: RunningServer) -> str:
    client = server.client
    upload = client.create(5)
    fields = {**APPEND, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert client.request("POST", upload, fields, b"hello").status == 204
    assert client.request("POST", upload, {"X-HTTP-Method-Override": "DELETE"}).status == 204
    assert client.head(upload).status == 410
    return YES


@scenario("refusals: version, type, offset, size, unknown upload")
def refusals(server: RunningServer) -> str:
    client = server.client
    upload = client.create(10)
    patch = {**APPEND, "Upload-Offset": "0"}
    refused = [
        (client.request("PATCH", upload, {**patch, "Tus-Resumable": "0.2.2"}, b"x"), 412),
        (client.request("PATCH", upload, {**patch, "Content-Type": "text/plain"}, b"x"), 415),
        (client.append(upload, 3, b"x"), 409),
        (client.append(upload, 0, b"x" * 11), 413),
        (client.request("POST", "/files", {"Upload-Length": str(MAX_SIZE + 1)}), 413),
        (client.append("/files/unknown", 0, b"x"), 404),
        (client.head("/files/unknown"), 404),
    ]
    assert [answer.status for answer, _ in refused] == [status for _, status in refused]
    assert all("location" not in answer.headers for answer, _ in refused)
    assert client.offset(upload) == 0
    return YES


@scenario("an empty file")
def empty_file(server: RunningServer) -> str:
    upload = server.client.create(0)
    fetched = server.client.get(upload)
    assert (fetched.status, fetched.body) == (200, b"")
    return YES


@scenario("creation with data")
def creation_with_data(server: RunningServer) -> str:
    resumed(server, server.client.create(len(BODY), BODY[:PART]), PART)
    return YES


@scenario("length declared late")
def deferred_length(server: RunningServer) -> str:
    client = server.client
    upload = client.create(None)
    assert client.append(upload, 0, b"hello").status == 204
    assert client.head(upload)["upload-defer-length"] == "1"
    fields = {**APPEND, "Upload-Offset": "5", "Upload-Length": "10"}
    assert client.request("PATCH", upload, fields, b"world").status == 204
    assert client.get(upload).body == b"helloworld"
    return YES


@scenario("a file in pieces")
def pieces(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY))
    for start in range(0, len(BODY), PART):
        assert client.append(upload, start, BODY[start : start + PART]).status == 204
        assert client.offset(upload) == min(start + PART, len(BODY))
    assert client.get(upload).body == BODY
    return YES


@scenario("a large body in one request")
def large_body(server: RunningServer) -> str:
    resumed(server, server.client.create(8 * len(BODY)), 0, 8 * BODY)
    return YES


@scenario("many requests on one connection")
def one_connection(server: RunningServer) -> str:
    with server.client.connected() as wire:
        created = wire.request("POST", "/files", {**APPEND, "Upload-Length": "10"}, b"he")
        assert created.status == 201
        if closes(created):
            return "one each"
        for start in range(2, 10):
            fields = {**APPEND, "Upload-Offset": str(start)}
            appended = wire.request("PATCH", created["location"], fields, b"x")
            assert appended.status == 204
            if closes(appended):
                return "until a 204"
            assert wire.request("HEAD", created["location"]).offset == start + 1
        assert wire.request("GET", created["location"]).body == b"he" + 8 * b"x"
    return YES


def closes(answer: WireAnswer) -> bool:
    return answer.headers.get("connection", "").lower() == "close"


@scenario("requests sent ahead on one connection")
def pipelined(server: RunningServer) -> str:
    upload = server.client.create(5)
    head = f"HEAD {upload} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    with server.client.connected() as wire:
        wire.send_head("PATCH", upload, {**APPEND, "Upload-Offset": "0", "Content-Length": "5"})
        wire.send(b"hello" + head)
        assert wire.receive().status == 204
        try:
            assert wire.receive(head=True).offset == 5
        except OSError:
            return "first only"
    return YES


@scenario("HTTP/1.0")
def http_1_0(server: RunningServer) -> str:
    wire = Wire(server.port)
    wire.send(b"POST /files HTTP/1.0\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n")
    wire.send(f"Content-Type: {APPEND['Content-Type']}\r\nContent-Length: 5\r\n\r\nhello".encode())
    answer = wire.receive()
    assert (answer.status, answer.offset) == (201, 5)
    return YES


@scenario("download of a range, and 304 for a known ETag")
def download(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY), BODY)
    part = client.request("GET", upload, {"Range": "bytes=1000-1999"})
    assert (part.status, part.body) == (206, BODY[1000:2000])
    assert client.request("GET", upload, {"If-None-Match": part["etag"]}).status == 304
    return YES


@scenario("HEAD has no body")
def head_without_body(server: RunningServer) -> str:
    upload = server.client.create(5, b"hello")
    with server.client.connected() as wire:
        wire.send(f"HEAD {upload} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nConnection: close\r\n\r\n".encode())
        assert wire.receive(head=True).status == 200
        assert wire.rest() == b""
    return YES


@scenario("checksums, right and wrong")
def checksums(server: RunningServer) -> str:
    client = server.client
    upload = client.create(5)
    digest = base64.b64encode(hashlib.sha1(b"hello").digest()).decode()
    fields = {**APPEND, "Upload-Offset": "0", "Upload-Checksum": f"sha1 {digest}"}
    assert client.request("PATCH", upload, fields, b"jello").status == 460
    assert client.offset(upload) == 0
    assert client.request("PATCH", upload, fields, b"hello").status == 204
    return YES


@scenario("termination")
def termination(server: RunningServer) -> str:
    client = server.client
    upload = client.create(5, b"he")
    assert client.request("DELETE", upload).status == 204
    assert client.head(upload).status == 410
    assert not (server.directory / upload.rpartition("/")[2]).exists()
    return YES


@scenario("concatenation")
def concatenation(server: RunningServer) -> str:
    client = server.client
    parts = [client.create(len(half), half, Upload_Concat="partial") for half in (BODY[:PART], BODY[PART:])]
    answer = client.request("POST", "/files", {"Upload-Concat": f"final;{' '.join(parts)}"})
    assert answer.status == 201
    assert client.get(answer["location"]).body == BODY
    return YES


@scenario("post_finish is told once")
def told_once(server: RunningServer) -> str:
    upload = server.client.create(5, b"he")
    assert server.client.append(upload, 2, b"llo").status == 204
    name = upload.rpartition("/")[2]

    def told() -> int:
        events = server.directory.parent / "events"
        return sum(f" {name} " in line for line in events.read_text().splitlines()) if events.exists() else 0

    eventually(told)
    assert server.client.offset(upload) == 5
    assert told() == 1
    return YES


def draft(**fields: str) -> dict[str, str]:
    names = {"Upload-Draft-Interop-Version": "6", "Content-Type": "application/partial-upload"}
    return names | {name.replace("_", "-"): value for name, value in fields.items()}


@scenario("the IETF draft: create, append, complete")
def ietf_draft(server: RunningServer) -> str:
    created = send_draft(server, "POST", "/files", draft(Upload_Complete="?0"), b"hello")[-1]
    assert created.status == 201
    target = urlsplit(created["location"]).path
    fields = draft(Upload_Complete="?1", Upload_Offset="5")
    completed = send_draft(server, "PATCH", target, fields, b"world")[-1]
    assert 200 <= completed.status < 300
    assert server.client.get(target).body == b"helloworld"
    return YES


@scenario("104 answers")
def interim_answers(server: RunningServer) -> str:
    answers = send_draft(server, "POST", "/files", draft(Upload_Complete="?0"), BODY)
    assert answers[-1].status == 201
    interim = [answer for answer in answers if answer.status == 104]
    if not interim:
        return "no"
    assert urlsplit(interim[0]["location"]).path == urlsplit(answers[-1]["location"]).path
    return YES


def send_draft(
    server: RunningServer, method: str, target: str, fields: dict[str, str], body: bytes
) -> list[WireAnswer]:
    """Every answer to one request, without Tus-Resumable; the last is the final one."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    with server.client.connected() as wire:
        wire.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answers = [wire.receive()]
        while answers[-1].status < 200:
            answers.append(wire.receive())
    return answers


@scenario("bytes before an orderly close are kept")
def orderly_close(server: RunningServer) -> str:
    upload = server.client.create(len(BODY))
    server.client.begin_append(upload, 0, len(BODY), BODY[:PART]).finish()
    return kept(server, upload, PART)


@scenario("bytes before a reset are kept")
def reset(server: RunningServer) -> str:
    upload = server.client.create(len(BODY))
    wire = server.client.begin_append(upload, 0, len(BODY), BODY[:PART])
    awaited(server, upload, PART)
    wire.reset()
    return kept(server, upload, PART)


def kept(server: RunningServer, upload: str, sent: int) -> str:
    """How much of what was sent is there; the upload goes on from it and comes out right."""
    awaited(server, upload, sent)
    offset = server.client.offset(upload)
    assert offset <= sent
    resumed(server, upload, offset)
    if offset == sent:
        return YES
    return "not the last read" if offset else "no"


@scenario("resume after a reset, again and again")
def resume_after_reset(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY))
    offset = 0
    for _ in range(3):
        end = min(offset + PART, len(BODY))
        wire = client.begin_append(upload, offset, len(BODY) - offset, BODY[offset:end])
        time.sleep(0.1)
        wire.reset()
        found = client.offset(upload)
        assert offset <= found <= end
        offset = found
    resumed(server, upload, offset)
    return YES


@scenario("a small body that is cut keeps its prefix")
def small_cut(server: RunningServer) -> str:
    upload = server.client.create(1000)
    server.client.begin_append(upload, 0, 1000, BODY[:400]).finish()
    awaited(server, upload, 400)
    offset = server.client.offset(upload)
    assert offset in (0, 400)
    resumed(server, upload, offset, BODY[:1000])
    return YES if offset else "no"


@scenario("a cut last append completes nothing")
def cut_last_append(server: RunningServer) -> str:
    upload = server.client.create(None)
    wire = Wire(server.port)
    fields = {**APPEND, "Upload-Offset": "0", "Upload-Length": "10", "Content-Length": "10"}
    wire.send_head("PATCH", upload, fields)
    wire.send(b"hello")
    wire.finish()
    awaited(server, upload, 5)
    assert server.client.offset(upload) in (0, 5)
    assert server.client.get(upload).status == 204
    return YES


@scenario("a creation that is cut holds no lock")
def cut_creation(server: RunningServer) -> str:
    fields = {**APPEND, "Upload-Length": "1000000", "Content-Length": "1000000", "X-Test-Id": "cut"}
    wire = Wire(server.port)
    wire.send_head("POST", "/files", fields)
    wire.send(BODY[:100_000])
    created = awaited(server, "/files/cut", 1) > 0
    wire.reset()
    if not created:
        assert server.client.head("/files/cut").status == 404
        return "not created"
    eventually(lambda: server.client.head("/files/cut").status == 200)
    return YES


@scenario("a silent client is let go")
def silent_client(server: RunningServer) -> str:
    upload = server.client.create(len(BODY))
    wire = server.client.begin_append(upload, 0, len(BODY), BODY[:PART])
    wire.wait_at_most(SILENCE + 2)
    answer = refused(wire)
    wire.finish()
    if answer is None:
        awaited(server, upload, PART)
        resumed(server, upload, server.client.offset(upload))
        return "no"
    assert (answer.status, b"ERR_READ_TIMEOUT" in answer.body) == (500, True)
    resumed(server, upload, server.client.offset(upload))
    return YES


@scenario("a slow client is not silent")
def slow_client(server: RunningServer) -> str:
    upload = server.client.create(6)
    wire = server.client.begin_append(upload, 0, 6)
    for byte in b"slowly":
        wire.send(bytes([byte]))
        time.sleep(SILENCE / 4)
    assert wire.receive().status == 204
    assert server.client.get(upload).body == b"slowly"
    return YES


@scenario("chunked bodies")
def chunked(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, None, BODY[:PART])
    try:
        wire.send_chunk(BODY[PART:])
        wire.send(b"0\r\n\r\n")
    except OSError:
        pass  # refused while it was sent
    answer = wire.receive()
    if answer.status == 411:
        resumed(server, upload, 0)
        return "411"
    assert answer.status == 204
    assert client.get(upload).body == BODY
    return YES


@scenario("a chunked body that is cut completes nothing")
def cut_chunked(server: RunningServer) -> str:
    upload = server.client.create(None)
    wire = Wire(server.port)
    fields = {**APPEND, "Upload-Offset": "0", "Upload-Length": "5", "Transfer-Encoding": "chunked"}
    wire.send_head("PATCH", upload, fields)
    wire.send_chunk(b"hel")
    wire.finish()
    awaited(server, upload, 3)
    assert server.client.offset(upload) in (0, 3)
    assert server.client.get(upload).status == 204
    return YES


@scenario("bytes of a chunked body that is cut are kept")
def kept_chunked(server: RunningServer) -> str:
    upload = server.client.create(None)
    wire = server.client.begin_append(upload, 0, None, b"hello")
    time.sleep(0.2)
    wire.finish()
    awaited(server, upload, 5)
    offset = server.client.offset(upload)
    assert offset in (0, 5)
    assert server.client.head(upload)["upload-defer-length"] == "1"
    return YES if offset else "no"


@scenario("HEAD takes over from a stalled append")
def head_takes_over(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, len(BODY), BODY[:PART])
    awaited(server, upload, 1)
    answer = client.head(upload)
    if answer.status == 423:
        assert "retry-after" in answer.headers
        wire.finish()
        eventually(lambda: client.head(upload).status == 200)
        resumed(server, upload, client.offset(upload))
        return "423"
    assert answer.status == 200
    resumed(server, upload, answer.offset)
    if answer.offset == 0:
        return "nothing kept"
    assert (interrupted := refused(wire)) is None or interrupted.status == 423
    return YES


@scenario("DELETE ends a stalled append")
def delete_takes_over(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, len(BODY), BODY[:PART])
    awaited(server, upload, 1)
    answer = client.request("DELETE", upload)
    if answer.status == 423:
        wire.finish()
        eventually(lambda: client.request("DELETE", upload).status == 204)
        return "423"
    assert answer.status == 204
    wire.finish()
    time.sleep(0.2)
    assert not (server.directory / upload.rpartition("/")[2]).exists()
    return YES


@scenario("two appends at one offset: one counts")
def two_appends(server: RunningServer) -> str:
    client = server.client
    bodies = [bytes([value]) * PART for value in (1, 2)]
    upload = client.create(PART)
    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(lambda body: client.append(upload, 0, body).status, bodies))
    offset = client.offset(upload)
    assert set(statuses) <= {204, 409, 413, 423}
    if offset < PART:  # the second interrupted the first and was at a wrong offset then
        assert 204 not in statuses
        first = (server.directory / upload.rpartition("/")[2]).read_bytes()[:1] or b"\1"
        assert client.append(upload, offset, first * (PART - offset)).status == 204
    assert client.get(upload).body in bodies
    return YES


@scenario("uploads side by side")
def side_by_side(server: RunningServer) -> str:
    client = server.client

    def upload(number: int) -> bool:
        body = bytes([number]) * PART
        target = client.create(PART, body[: PART // 2])
        return client.append(target, PART // 2, body[PART // 2 :]).status == 204 and client.get(target).body == body

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(upload, range(16)))
    return YES


@scenario("what a pausing client has sent is stored meanwhile")
def stored_meanwhile(server: RunningServer) -> str:
    upload = server.client.create(len(BODY))
    wire = server.client.begin_append(upload, 0, len(BODY), BODY[:PART])
    found = awaited(server, upload, PART)
    wire.finish()
    if found == PART:
        return YES
    return "not the last read" if found else "no"


@scenario("a download disturbs no append")
def download_beside(server: RunningServer) -> str:
    client = server.client
    upload = client.create(len(BODY))
    wire = client.begin_append(upload, 0, len(BODY), BODY[:PART])
    time.sleep(0.1)
    assert client.get(upload).status == 204
    wire.send(BODY[PART:])
    assert wire.receive().status == 204
    assert client.get(upload).body == BODY
    return YES


@scenario("40 stalled clients keep nobody waiting")
def stalled_clients(server: RunningServer) -> str:
    client = server.client
    uploads = [client.create(len(BODY)) for _ in range(41)]
    wires = [client.begin_append(upload, 0, len(BODY), BODY[:1000]) for upload in uploads[:40]]
    time.sleep(0.3)
    done = threading.Event()

    def ask() -> None:
        if client.head(uploads[40]).status == 200:
            done.set()

    asking = threading.Thread(target=ask)
    asking.start()
    free = done.wait(1.0)
    for wire in wires:
        wire.finish()
    asking.join()
    assert done.is_set()
    return YES if free else "no"


@scenario("100 Continue is sent when the body is wanted")
def continue_when_wanted(server: RunningServer) -> str:
    client = server.client
    upload = client.create(5)
    with client.connected() as wire:
        fields = {**APPEND, "Upload-Offset": "0", "Content-Length": "5", "Expect": "100-continue"}
        wire.send_head("PATCH", upload, fields)
        assert wire.receive().status == 100
        wire.send(b"hello")
        while (answer := wire.receive()).status < 200:
            assert answer.status == 100
        assert answer.status == 204
    with client.connected() as wire:
        wire.send_head("PATCH", upload, {**fields, "Content-Type": "text/plain"})
        answer = wire.receive()
        if answer.status == 415:
            return YES
        assert answer.status == 100
        wire.send(b"hello")
        while (answer := wire.receive()).status < 200:
            assert answer.status == 100
        assert answer.status == 415
    return "always"


@scenario("a refusal can be read while the body is sent")
def early_refusal(server: RunningServer) -> str:
    client = server.client
    upload = client.create(10)
    try:
        answer = client.append(upload, 0, 5 * BODY)
        assert answer.status == 413
    except OSError:
        assert client.offset(upload) == 0
        return "no"
    assert client.offset(upload) == 0
    return YES


@scenario("SIGTERM ends the server while a client stalls, and the upload goes on with the next")
def stopped(server: RunningServer) -> str:
    """The last one: it leaves no server."""
    upload = server.client.create(len(BODY), BODY[:PART])
    wire = server.client.begin_append(upload, PART, len(BODY) - PART, BODY[PART : 2 * PART])
    before = awaited(server, upload, 2 * PART)
    assert before >= PART
    seen = YES
    try:
        server.stop(SILENCE + 5)
    except TimeoutExpired:
        seen = "SIGKILL does"
        server.kill()
    wire.finish()
    with observing(server.name, server.directory.parent) as again:
        offset = again.client.offset(upload)
        assert offset >= before
        resumed(again, upload, offset)
    return seen
