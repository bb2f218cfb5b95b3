"""GET of uploads: whole, in part, or not at all; and never as something that runs."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.engine.client import EngineClient
from tuspy_server import Composer, MemoryStore
from tuspy_server.errors import StoreUnavailable, UploadGone
from tuspy_server.models import UploadInfo


def encoded(**metadata: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())


def finished(client: EngineClient, body: bytes = b"0123456789", **metadata: str) -> str:
    return client.create(len(body), body, upload_metadata=encoded(**metadata)).id


def test_a_finished_upload_is_served_with_a_strong_etag(client: EngineClient) -> None:
    upload = finished(client)
    answer = client.get(upload)
    assert (answer.status, answer.body, answer["content-length"]) == (200, b"0123456789", "10")
    assert (answer["etag"], answer["accept-ranges"]) == (f'"{upload}-10"', "bytes")
    assert answer["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("value", "body", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-5", b"2345", "bytes 2-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=5-999", b"56789", "bytes 5-9/10"),
    ],
)
def test_a_range_is_served_as_206(client: EngineClient, value: str, body: bytes, content_range: str) -> None:
    answer = client.get(finished(client), range=value)
    assert (answer.status, answer.body, answer["content-range"]) == (206, body, content_range)
    assert answer["content-length"] == str(len(body))


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=99-100"])
def test_a_range_outside_is_416(client: EngineClient, value: str) -> None:
    answer = client.get(finished(client), range=value)
    assert (answer.status, answer["content-range"]) == (416, "bytes */10")


@pytest.mark.parametrize("value", ["bytes=0-1,3-4", "lines=1-2", "bytes=x", "bytes=5-2", ""])
def test_a_range_that_is_not_understood_gets_the_whole(client: EngineClient, value: str) -> None:
    assert client.get(finished(client), range=value).status == 200


def test_if_none_match_saves_the_body(client: EngineClient) -> None:
    upload = finished(client)
    etag = client.get(upload)["etag"]
    for value in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = client.get(upload, if_none_match=value)
        assert (answer.status, answer.body, answer["etag"]) == (304, b"", etag)
    assert client.get(upload, if_none_match='"other"').status == 200


def test_if_range_guards_a_range(client: EngineClient) -> None:
    upload = finished(client)
    etag = client.get(upload)["etag"]
    assert client.get(upload, range="bytes=0-1", if_range=etag).status == 206
    assert client.get(upload, range="bytes=0-1", if_range='"other"').status == 200
    assert client.get(upload, range="bytes=0-1", if_range="Thu, 01 Jan 2026 00:00:00 GMT").status == 200


@pytest.mark.parametrize(
    ("claimed", "served", "disposition"),
    [
        ("image/png", "image/png", "inline"),
        ("Image/PNG; x=1", "image/png", "inline"),
        ("text/html", "text/html", "attachment"),
        ("image/svg+xml", "image/svg+xml", "attachment"),
        ("application/pdf", "application/pdf", "attachment"),
        ("", "application/octet-stream", "attachment"),
        ("evil\r\nX: y", "application/octet-stream", "attachment"),
        ("no type", "application/octet-stream", "attachment"),
    ],
)
def test_only_types_that_cannot_run_script_are_inline(
    client: EngineClient, claimed: str, served: str, disposition: str
) -> None:
    answer = client.get(finished(client, filetype=claimed))
    assert (answer["content-type"], answer["content-disposition"]) == (served, disposition)
    assert answer["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", '; filename="a.txt"'),
        ("größe.txt", "; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"),
        ('a"b\\c.txt', '; filename="c.txt"'),
        ("../../etc/passwd", '; filename="passwd"'),
        ("a\r\nSet-Cookie: x", "; filename=\"aSet-Cookie: x\"; filename*=UTF-8''aSet-Cookie%3A%20x"),
        ("50%.txt", "; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
        ("\u202egpj.exe", '; filename="gpj.exe"'),
        ("...", ""),
        ("", ""),
    ],
)
def test_a_file_name_is_made_safe(client: EngineClient, name: str, expected: str) -> None:
    answer = client.get(finished(client, filename=name))
    assert answer["content-disposition"] == "attachment" + expected


def test_a_name_with_undecodable_bytes_is_no_error(client: EngineClient) -> None:
    upload = client.create(1, b"x", upload_metadata="filename " + base64.b64encode(b"a\xff.txt").decode()).id
    assert client.get(upload)["content-disposition"] == 'attachment; filename="a.txt"'


def test_an_open_upload_has_no_bytes_to_show_but_its_state(client: EngineClient) -> None:
    upload = client.create(10, b"hello").id
    answer = client.get(upload)
    assert (answer.status, answer.body, answer.offset, answer["upload-length"]) == (204, b"", 5, "10")
    assert answer["cache-control"] == "no-store"


class Moved(MemoryStore):
    """Its bytes were taken away by the app."""

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        raise UploadGone


def test_bytes_the_app_moved_away_are_410_while_head_stays_200() -> None:
    client = EngineClient(Moved())
    upload = finished(client)
    assert client.get(upload).status == 410
    assert client.head(upload).offset == 10


class Slow(MemoryStore):
    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        raise StoreUnavailable


def test_a_store_out_of_reach_is_503() -> None:
    client = EngineClient(Slow())
    assert client.get(finished(client)).status == 503


def test_without_a_reader_there_are_no_downloads() -> None:
    client = EngineClient(Composer(MemoryStore(), reader=None))
    upload = finished(client)
    answer = client.get(upload)
    assert (answer.status, answer["allow"]) == (405, "HEAD, PATCH, DELETE, OPTIONS")


def test_get_of_what_is_not_there_is_404(client: EngineClient) -> None:
    assert client.get("nope").status == 404
    assert client.get("a/b").status == 404
