"""Limits of resumable uploads (RUFH) on real servers: announced, enforced on actual bytes, frozen at creation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import http_sf
import pytest

from tests.interop.rufh import BASE, DraftClient, DraftServer, draft_server
from tests.protocol.drafts import VERSIONS
from tests.servers.wire import APPEND, Wire, WireAnswer

LIMITS = {"max_size": 1000, "min_size": 20, "max_append_size": 500, "min_append_size": 10, "expires_after": 3600}


@pytest.fixture(params=["asgi", "wsgi"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DraftServer]:
    with draft_server(request.param, tmp_path_factory.mktemp("limits") / "uploads", **LIMITS) as found:
        yield found


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, server: DraftServer) -> DraftClient:
    version: int = request.param
    return server.client(version)


since_6 = pytest.mark.parametrize("client", range(6, 10), indirect=True)


def limits(answer: WireAnswer) -> dict[str, int]:
    parsed = http_sf.parse(answer["upload-limit"].encode(), tltype="dictionary")
    assert isinstance(parsed, dict)
    return {key: int(str(member[0])) for key, member in parsed.items() if isinstance(member, tuple)}


def is_limits(client: DraftClient, found: dict[str, int]) -> bool:
    """Whether these are all of the server's, with a lifetime that has begun to shrink."""
    left = found.pop("expires" if client.version == 6 else "max-age")
    told = {name.replace("_", "-"): value for name, value in LIMITS.items() if name != "expires_after"}
    return found == told and 3500 < left <= 3600


@since_6
def test_every_answer_tells_the_limits(client: DraftClient) -> None:
    created = client.post(last=False)
    appended = client.append(created["location"], 0, b"x" * 10, last=False)
    for answer in (created, appended, client.head(created["location"]), client.request("OPTIONS", BASE)):
        assert is_limits(client, limits(answer))


def test_versions_until_5_are_told_no_limits(client: DraftClient) -> None:
    answer = client.post(last=False)
    assert ("upload-limit" in answer.headers) is (client.version in range(6, 10))


def test_a_creation_above_the_maximum_makes_no_upload(client: DraftClient, server: DraftServer) -> None:
    before = set(server.directory.iterdir())
    for answer in (client.post(b"x" * 1001, last=True), client.post(last=False, Upload_Length="1001")):
        assert (answer.status, client.says_complete(answer)) == (413, False)
        assert "location" not in answer.headers
        if client.version in range(6, 10):
            assert is_limits(client, limits(answer))
    assert set(server.directory.iterdir()) == before


def test_an_append_above_the_maximum_of_appends_is_refused(client: DraftClient) -> None:
    upload = client.create()
    answer = client.append(upload, 0, b"x" * 501, last=True)
    assert (answer.status, answer.offset, client.says_complete(answer)) == (413, 0, False)
    assert client.append(upload, 0, b"x" * 500, last=False).offset == 500


def test_a_chunked_append_stops_at_the_maximum_of_appends(client: DraftClient) -> None:
    upload = client.create()
    answer = client.chunked(upload, 0, b"x" * 501, last=True)
    assert (answer.status, answer.offset, client.says_complete(answer)) == (413, 500, False)
    assert client.append(upload, 500, b"x" * 10, last=True).status == 201


def test_a_small_append_is_refused_unless_it_is_the_last(client: DraftClient) -> None:
    upload = client.create(Upload_Length="29")
    assert client.append(upload, 0, b"x" * 20, last=False).offset == 20
    answer = client.append(upload, 20, b"x" * 9, last=False)
    assert (answer.status, answer.offset, client.says_complete(answer)) == (400, 20, False)
    assert client.append(upload, 20, last=False).status == 400
    assert client.append(upload, 20, b"x" * 9, last=True).status == 201


def test_limits_of_appends_bind_the_content_of_creations_from_version_8_on(client: DraftClient) -> None:
    bound = client.version in (8, 9)
    assert client.post(b"x" * 501, last=True).status == (413 if bound else 201)
    assert client.post(b"x" * 9, last=False).status == (400 if bound else 201)
    assert client.post(b"x" * 9, last=True).status == 201
    assert client.post(last=False).status == 201


def test_an_upload_below_the_minimum_is_taken_whole_but_not_in_parts(client: DraftClient) -> None:
    assert client.post(b"x" * 10, last=True).status == 201
    answer = client.post(last=False, Upload_Length="19")
    assert (answer.status, client.says_complete(answer)) == (400, False)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_no_more_than_the_maximum_is_ever_stored(
    client: DraftClient, server: DraftServer, known: bool, chunked: bool
) -> None:
    """The draft's half of a matrix; the other half is below."""
    upload = client.create(Upload_Length="1000") if known else client.create()
    send = client.chunked if chunked else client.append
    for offset in (0, 500):
        assert send(upload, offset, b"x" * 500, last=False).offset == offset + 500
    answer = send(upload, 1000, b"x" * 10, last=False)
    assert answer.status == (400 if known else 413)
    assert client.says_complete(answer) is False
    path = server.directory / upload.rpartition("/")[2]
    assert not path.exists() or path.stat().st_size == 1000


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_no_more_than_the_maximum_is_ever_stored_for_tus(server: DraftServer, known: bool, chunked: bool) -> None:
    wire = Wire(server.port)
    created = wire.request("POST", BASE, {"Upload-Length": "1000"} if known else {"Upload-Defer-Length": "1"})
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "1001"}
    wire.send_head("PATCH", created["location"], {**APPEND, "Upload-Offset": "0", **framing})
    if chunked:
        wire.send_chunk(b"x" * 1001)
        wire.send_chunk(b"")
    else:
        wire.send(b"x" * 1001)
    assert wire.receive().status == 413
    assert server.stored(created["location"]) <= 1000


@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_limits_are_those_of_the_creation(name: str, tmp_path: Path) -> None:
    directory = tmp_path / "uploads"
    with draft_server(name, directory, max_size=1000, expires_after=1000) as server:
        uploads = {version: server.client(version).create() for version in VERSIONS}
    with draft_server(name, directory, max_size=10, max_append_size=5, expires_after=10) as server:
        for version, upload in uploads.items():
            client = server.client(version)
            told = client.head(upload)
            if version >= 6:
                found = limits(told)
                assert found.pop("expires" if version == 6 else "max-age") > 900
                assert found == {"max-size": 1000}
            assert client.append(upload, 0, b"x" * 1000, last=True).status == 201


def test_a_stranger_cannot_invalidate_an_upload(client: DraftClient, server: DraftServer) -> None:
    owner, stranger = server.client(client.version, "ann"), server.client(client.version, "bob")
    upload = owner.create(Upload_Length="20")
    assert stranger.append(upload, 0, b"x" * 21, last=False).status == 404
    assert stranger.delete(upload).status == 404
    assert owner.offset(upload) == 0
    assert owner.append(upload, 0, b"x" * 21, last=False).status == 400
    assert owner.head(upload).status == (410 if client.version in range(7, 10) else 204)
