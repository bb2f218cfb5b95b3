"""From a path to what it names, from an upload to its URL, and back; pure."""

from __future__ import annotations

import pytest

from tuspy_server.config import Config
from tuspy_server.models import Request
from tuspy_server.protocol.resolve import (
    Collection,
    Target,
    UploadPath,
    below_root,
    id_from_url,
    is_trusted,
    is_valid_id,
    resolve,
    url_of,
)

HERE = Collection()


@pytest.mark.parametrize(
    ("path", "base_path", "expected"),
    [
        ("", "", HERE),
        ("/", "", HERE),
        ("/f", "", UploadPath("f")),
        ("/f/", "", UploadPath("f")),
        ("/files", "", UploadPath("files")),
        ("/files", "/files", HERE),
        ("/files/", "files", HERE),
        ("/files/f", "/files/", UploadPath("f")),
        ("/files/file", "/files", UploadPath("file")),
        ("/files/files", "/files", UploadPath("files")),
        ("/files/files/", "/files", UploadPath("files")),
        ("/a/files/x", "/a/files", UploadPath("x")),
        ("/file", "/files", None),
        ("/filesf", "/files", None),
        ("/other/f", "/files", None),
        ("//", "", None),
        ("//f", "", None),
        ("/f//", "", None),
        ("/a/b", "", None),
        ("/.", "", None),
        ("/..", "", None),
        ("/f/../g", "", None),
        ("/a\\b", "", None),
        ("/a\0", "", None),
        ("/a b", "", None),
        ("/jö", "", None),
        ("/f.info", "", None),
        ("/f.LOCK", "", None),
        ("/" + "a" * 128, "", UploadPath("a" * 128)),
        ("/" + "a" * 129, "", None),
    ],
)
def test_a_path_names(path: str, base_path: str, expected: Target) -> None:
    assert resolve(path, Config(base_path=base_path)) == expected


@pytest.mark.parametrize(
    ("raw_path", "found"),
    [("/f", True), ("/%66", True), ("/f?x=%2F", True), ("/%2Ff", False), ("/f%2f", False), (None, True)],
)
def test_an_encoded_slash_is_no_separator(raw_path: str | None, found: bool) -> None:
    assert resolve("/f", Config(), raw_path=raw_path) == (UploadPath("f") if found else None)


def test_an_app_may_read_ids_its_own_way() -> None:
    config = Config(id_from=lambda segment: segment[1:] if segment.startswith("x") else None)
    assert resolve("/xf", config) == UploadPath("f")
    assert resolve("/f", config) is None
    assert resolve("/x..", config) is None
    assert resolve("/", config) == HERE


@pytest.mark.parametrize(
    ("path", "root_path", "outer", "below"),
    [
        ("/f", "", "", "/f"),
        ("/files", "/files", "", ""),
        ("/files/", "/files", "", "/"),
        ("/files/files", "/files", "", "/files"),
        ("/files/f", "/files/", "", "/f"),
        ("/filesf", "/files", "", "/filesf"),
        ("/api/files/f", "/api/files", "/api", "/f"),
        ("/files/f", "/api/files", "/api", "/f"),
        ("/files", "/api/files", "/api", ""),
        ("/f", "/api", "", "/f"),
        ("/f", "/api", "/api", "/f"),
        ("/api/f", "/api/", "/api/", "/f"),
    ],
)
def test_a_root_path_is_cut_off_where_it_is_carried(path: str, root_path: str, outer: str, below: str) -> None:
    assert below_root(path, root_path, outer) == below


def request(**fields: object) -> Request:
    given = {"method": "POST", "url": "", "path": "/", "host": "example.org", "peer": "10.0.0.1", **fields}
    return Request(**given)  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    ("fields", "settings", "url"),
    [
        ({}, {}, "http://example.org/f"),
        ({"scheme": "https"}, {}, "https://example.org/f"),
        ({"host": "example.org:80"}, {}, "http://example.org/f"),
        ({"host": "example.org:80", "scheme": "https"}, {}, "https://example.org:80/f"),
        ({"host": "example.org:443", "scheme": "https"}, {}, "https://example.org/f"),
        ({"host": "[::1]:8080"}, {}, "http://[::1]:8080/f"),
        ({"script_name": "/files"}, {}, "http://example.org/files/f"),
        ({"script_name": "/files/"}, {}, "http://example.org/files/f"),
        ({"script_name": "/jö"}, {"base_path": "a b"}, "http://example.org/j%C3%B6/a%20b/f"),
        ({"script_name": "/api"}, {"relative_location": True, "base_path": "/files"}, "/api/files/f"),
        ({"script_name": "/api"}, {"base_url": "https://cdn.example/up/"}, "https://cdn.example/up/f"),
        ({}, {"url_for": lambda request, upload_id: f"urn:{request.host}:{upload_id}"}, "urn:example.org:f"),
    ],
)
def test_an_upload_has_a_url(fields: dict[str, object], settings: dict[str, object], url: str) -> None:
    assert url_of(request(**fields), "f", Config(**settings)) == url  # type: ignore[arg-type]  # a table of settings


PROXIED = Config(trusted_proxies=("10.0.0.0/8", "::1"))


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, "http://example.org"),
        ({"x-forwarded-proto": "https"}, "https://example.org"),
        ({"x-forwarded-proto": "HTTPS, http"}, "https://example.org"),
        ({"x-forwarded-proto": "javascript"}, "http://example.org"),
        ({"x-forwarded-host": "a.example"}, "http://a.example"),
        ({"x-forwarded-host": "a.example:443, b.example", "x-forwarded-proto": "https"}, "https://a.example"),
        ({"x-forwarded-host": "a.example/evil"}, "http://example.org"),
        ({"x-forwarded-host": "user@a.example"}, "http://example.org"),
        ({"forwarded": "proto=https;host=a.example"}, "https://a.example"),
        ({"forwarded": 'for=1.2.3.4;Proto=https;Host="[::1]:8080", host=b.example'}, "https://[::1]:8080"),
        ({"forwarded": "host=a.example", "x-forwarded-host": "b.example"}, "http://a.example"),
        ({"forwarded": "for=1.2.3.4", "x-forwarded-host": "b.example"}, "http://b.example"),
    ],
)
def test_a_trusted_proxy_tells_the_origin(headers: dict[str, str], origin: str) -> None:
    asked = request(headers=tuple(headers.items()))
    assert url_of(asked, "f", PROXIED) == f"{origin}/f"
    assert url_of(asked, "f", Config()) == "http://example.org/f"


@pytest.mark.parametrize(
    ("peer", "proxies", "trusted"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("::1", ("::1",), True),
        ("", ("10.0.0.0/8",), False),
        (None, ("10.0.0.0/8",), False),
        ("unix:", ("10.0.0.0/8",), False),
        (None, ("*",), True),
        ("10.1.2.3", (), False),
    ],
)
def test_proxies_are_trusted_by_address(peer: str | None, proxies: tuple[str, ...], trusted: bool) -> None:
    assert is_trusted(peer, Config(trusted_proxies=proxies)) is trusted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.org/api/files/f", "f"),
        ("https://another.name/api/files/files", "files"),
        ("/api/files/f", "f"),
        ("/api/files/f/", "f"),
        ("/api/files/", None),
        ("/api/files", None),
        ("/files/f", None),
        ("/api/files/a/b", None),
        ("/api/files/%66", None),
        ("/api/files/..", None),
        ("f", None),
    ],
)
def test_our_own_urls_are_read_back(url: str, expected: str | None) -> None:
    config = Config(base_path="/files")
    assert id_from_url(url, request(script_name="/api"), config) == expected


def test_urls_under_a_base_url_are_read_back() -> None:
    config = Config(base_url="https://cdn.example/up")
    assert id_from_url("https://cdn.example/up/f", request(script_name="/api"), config) == "f"
    assert id_from_url("https://cdn.example/api/f", request(script_name="/api"), config) is None


def test_urls_with_ids_of_the_apps_own_are_read_back() -> None:
    config = Config(id_from=lambda segment: segment.removeprefix("x-"))
    assert id_from_url("/x-f", request(), config) == "f"


@pytest.mark.parametrize("upload_id", ["a", "A9_-.~", "_", "-x"])
def test_ids_that_are_safe(upload_id: str) -> None:
    assert is_valid_id(upload_id)


@pytest.mark.parametrize("upload_id", ["", ".", "~a", ".hidden", "a/b", "a\n", "a.info", "a.tmp", "a.Stage", "é"])
def test_ids_that_are_not(upload_id: str) -> None:
    assert not is_valid_id(upload_id)
