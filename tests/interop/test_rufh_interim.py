"""104 answers as bytes on the wire: on the command's own server, and on others that let us send them."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.interop.rufh import BASE, DraftClient, DraftServer, DraftWire, draft_server
from tests.protocol.drafts import VERSIONS
from tests.servers.wire import WireAnswer, eventually

BODY = os.urandom(300_000)
SENDING = ["command", "asgi", "asgi-h11", "gunicorn-asgi"]
every_version = pytest.mark.parametrize("version", VERSIONS)


@contextmanager
def announcing(name: str, directory: Path, *, on: bool = True) -> Iterator[DraftServer]:
    """A server on which 104 answers are switched on, or left as they are."""
    if name != "command":
        with draft_server(name, directory, **({"interim_responses": True} if on else {})) as server:
            yield server
        return
    flags = ["--base-path", BASE, *(["--interim-responses"] if on else [])]
    with Served(directory, *flags) as served:
        yield DraftServer(name, served.address[1], served.process, directory)


@pytest.fixture(params=SENDING, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DraftServer]:
    with announcing(request.param, tmp_path_factory.mktemp("interim") / "uploads") as found:
        yield found


def receive_all(wire: DraftWire) -> list[WireAnswer]:
    """Everything that is sent up to and including the final answer."""
    found = [wire.receive()]
    while found[-1].status < 200:
        found.append(wire.receive())
    return found


def begin(client: DraftClient, size: int | None, body: bytes = b"", **headers: str) -> DraftWire:
    return client.begin("POST", BASE, {**client.last(True), **headers}, size, body)


@every_version
def test_a_new_upload_is_announced_before_the_answer(server: DraftServer, version: int) -> None:
    client = server.client(version)
    wire = begin(client, len(BODY))
    first = wire.receive()
    assert (first.status, first["upload-draft-interop-version"]) == (104, str(version))
    assert ("upload-limit" in first.headers) is (version >= 6)
    assert not {"content-length", "transfer-encoding", "upload-offset"} & set(first.headers)
    assert client.offset(first["location"]) == 0
    wire.finish()


@every_version
def test_the_answer_names_the_upload_that_was_announced(server: DraftServer, version: int) -> None:
    wire = begin(server.client(version), len(BODY), BODY)
    first, *_, last = receive_all(wire)
    assert (first.status, last.status) == (104, 201)
    assert last["location"] == first["location"]


@every_version
def test_a_creation_cut_after_its_announcement_is_resumed_at_the_url_it_carried(
    server: DraftServer, version: int
) -> None:
    client = server.client(version)
    wire = begin(client, len(BODY))
    upload = wire.receive()["location"]
    wire.send(BODY[:100_000])
    wire.finish()
    eventually(lambda: server.stored(upload) == 100_000)
    answer = client.head(upload)
    assert answer.offset == 100_000
    assert client.says_complete(answer) is False
    assert client.append(upload, answer.offset, BODY[answer.offset :], last=True).status == 201
    assert client.get(upload).body == BODY


@pytest.mark.parametrize("name", SENDING)
def test_nothing_is_announced_with_the_default_settings(name: str, tmp_path: Path) -> None:
    with announcing(name, tmp_path / "uploads", on=False) as server:
        for version in VERSIONS:
            wire = begin(server.client(version), len(BODY), BODY)
            assert [answer.status for answer in receive_all(wire)] == [201]


def test_nothing_is_announced_to_http_1_0(server: DraftServer) -> None:
    for version in VERSIONS:
        client, wire = server.client(version), DraftWire(server.port)
        fields = client.fields({**client.last(True), "Host": "x", "Content-Length": str(len(BODY))})
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        wire.send(f"POST {BASE} HTTP/1.0\r\n{lines}\r\n".encode() + BODY)
        assert [answer.status for answer in receive_all(wire)] == [201]


@pytest.mark.parametrize("version", ["10", "x", "2", None])
def test_nothing_is_announced_to_a_version_that_we_do_not_speak(server: DraftServer, version: str | None) -> None:
    client = server.client(None)
    named = {} if version is None else {"Upload-Draft-Interop-Version": version}
    wire = begin(client, len(BODY), BODY, **named)
    assert [answer.status for answer in receive_all(wire)] == [412 if version == "2" else 201]


@every_version
def test_an_announcement_does_not_take_the_place_of_100_continue(server: DraftServer, version: int) -> None:
    wire = begin(server.client(version), len(BODY), Expect="100-continue")
    assert {wire.receive().status, wire.receive().status} == {100, 104}
    wire.send(BODY)
    assert receive_all(wire)[-1].status == 201


def test_progress_tells_offsets_that_only_grow_and_nothing_else(server: DraftServer) -> None:
    told = _progress([_appending(server.client(version)) for version in VERSIONS])
    assert [len(answers) > 0 for answers in told] == [version >= 5 for version in VERSIONS]
    for answers in told[2:]:
        offsets = [int(answer["upload-offset"]) for answer in answers]
        assert offsets == sorted(offsets)
        assert 0 < offsets[-1] <= len(BODY)
        assert not any({"location", "upload-limit"} & set(answer.headers) for answer in answers)


def test_progress_of_a_creation_repeats_no_location(server: DraftServer) -> None:
    told = _progress([begin(server.client(version), len(BODY)) for version in VERSIONS])
    for version, (first, *rest) in zip(VERSIONS, told, strict=True):
        assert "location" in first.headers
        assert bool(rest) is (version >= 5)
        assert not any("location" in answer.headers for answer in rest)


def test_an_offset_that_was_told_survives_a_kill(tmp_path: Path) -> None:
    with announcing("asgi", tmp_path / "uploads") as server:
        client = server.client(9)
        upload = client.create()
        wire = client.begin("PATCH", upload, client.appending(0, True), len(BODY))
        told = 0
        for start in range(0, 200_000, 10_000):
            wire.send(BODY[start : start + 10_000])
            if start >= 100_000 and not told:
                told = wire.receive().offset
                server.kill()
                break
            time.sleep(0.12)
    assert told > 0
    with announcing("asgi", tmp_path / "uploads") as server:
        answer = server.client(9).head(upload)
    assert answer.offset >= told
    assert answer["upload-complete"] == "?0"


def test_content_that_is_to_be_verified_has_no_progress(server: DraftServer) -> None:
    value = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    digest = {"Content-Digest": f"sha-256=:{value}:"}
    assert _progress([_appending(server.client(version), digest) for version in (6, 7, 8)]) == [[], [], []]


def _appending(client: DraftClient, headers: Mapping[str, str] | None = None) -> DraftWire:
    """The last append of a new upload, of which nothing was sent yet."""
    return client.begin("PATCH", client.create(), client.appending(0, True, headers), len(BODY))


def _progress(wires: Sequence[DraftWire]) -> list[list[WireAnswer]]:
    """Send BODY over each, in a good two seconds; the interim answers to it."""
    step = len(BODY) // 20
    for start in range(0, len(BODY), step):
        for wire in wires:
            wire.send(BODY[start : start + step])
        time.sleep(0.11)
    told = []
    for wire in wires:
        *interim, last = receive_all(wire)
        assert last.status == 201
        assert {answer.status for answer in interim} <= {104}
        told.append(interim)
    return told
