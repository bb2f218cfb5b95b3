"""From an upload to its URL and back: whom Location believes, and which URLs name a part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuspy_server.config import Config
from tuspy_server.models import Request
from tuspy_server.protocol.resolve import id_from_url, is_trusted, is_valid_id, url_of

ID = "a1b2"
PROXY = "10.1.2.3"
BEHIND = Config(base_path="/files", trusted_proxies=["10.0.0.0/8", "::1"])


def request(
    host: str = "up.example", *, scheme: str = "http", script_name: str = "", peer: str | None = PROXY, **headers: str
) -> Request:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Request(
        method="POST", url="", path="", headers=named, host=host, scheme=scheme, script_name=script_name, peer=peer
    )


@pytest.mark.parametrize(
    ("host", "scheme", "url"),
    [
        ("up.example", "http", "http://up.example/files/a1b2"),
        ("up.example:80", "http", "http://up.example/files/a1b2"),
        ("up.example:443", "https", "https://up.example/files/a1b2"),
        ("up.example:443", "http", "http://up.example:443/files/a1b2"),
        ("up.example:8080", "http", "http://up.example:8080/files/a1b2"),
        ("[::1]:80", "http", "http://[::1]/files/a1b2"),
    ],
)
def test_the_location_is_absolute_and_names_no_default_port(host: str, scheme: str, url: str) -> None:
    assert url_of(request(host, scheme=scheme), ID, Config(base_path="/files")) == url


def test_the_location_follows_the_mount_and_is_percent_encoded() -> None:
    asked = request(script_name="/app/größe")
    assert url_of(asked, ID, Config(base_path="/my files")) == "http://up.example/app/gr%C3%B6%C3%9Fe/my%20files/a1b2"


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"x_forwarded_proto": "https", "x_forwarded_host": "cdn.example"}, "https://cdn.example"),
        ({"x_forwarded_proto": "HTTPS , http", "x_forwarded_host": "a.example, b.example"}, "https://a.example"),
        ({"x_forwarded_host": "a.example:80"}, "http://a.example"),
        ({"x_forwarded_host": "a.example:8443", "x_forwarded_proto": "https"}, "https://a.example:8443"),
        ({"forwarded": "for=1.2.3.4;host=a.example;proto=https, for=5.6.7.8;host=b.example"}, "https://a.example"),
        ({"forwarded": 'For="[2001:db8::1]:4711";Proto=HTTPS;Host="a.example:444"'}, "https://a.example:444"),
        ({"forwarded": "proto=https", "x_forwarded_host": "ignored.example"}, "https://up.example"),
        ({"forwarded": "for=1.2.3.4", "x_forwarded_host": "a.example"}, "http://a.example"),
        ({"x_forwarded_host": ""}, "http://up.example"),
    ],
)
def test_a_trusted_proxy_tells_how_the_client_reached_it(headers: dict[str, str], origin: str) -> None:
    assert url_of(request(**headers), ID, BEHIND) == f"{origin}/files/a1b2"


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "a@b", "a\tb", "[::1", "a:b:c", "?", "a:999999"])
def test_a_host_that_is_none_is_not_believed(host: str) -> None:
    assert url_of(request(x_forwarded_host=host), ID, BEHIND) == "http://up.example/files/a1b2"


@pytest.mark.parametrize("scheme", ["javascript", "ftp", ""])
def test_a_scheme_that_is_not_of_the_web_is_not_believed(scheme: str) -> None:
    assert url_of(request(x_forwarded_proto=scheme), ID, BEHIND) == "http://up.example/files/a1b2"


@pytest.mark.parametrize("peer", ["192.0.2.1", None, "unix:", ""])
def test_nobody_else_is_believed(peer: str | None) -> None:
    asked = request(peer=peer, x_forwarded_host="evil.example", forwarded="host=evil.example;proto=https")
    assert url_of(asked, ID, BEHIND) == "http://up.example/files/a1b2"
    assert url_of(asked, ID, Config()) == "http://up.example/a1b2"


@pytest.mark.parametrize(
    ("proxies", "peer", "trusted"),
    [
        ([], PROXY, False),
        (["*"], PROXY, True),
        (["*"], None, True),
        (["10.1.2.3"], PROXY, True),
        (["10.1.2.3"], "10.1.2.4", False),
        (["10.1.2.3/8"], "10.9.9.9", True),
        (["::1"], "::1", True),
        (["::1"], "127.0.0.1", False),
        (["10.0.0.0/8", "192.168.0.0/16"], "192.168.7.7", True),
    ],
)
def test_proxies_are_trusted_by_address_or_network(proxies: list[str], peer: str | None, trusted: bool) -> None:
    assert is_trusted(peer, Config(trusted_proxies=proxies)) is trusted


def test_a_configured_address_counts_more_than_what_anybody_says() -> None:
    config = Config(base_url="https://up.example/x/", trusted_proxies=["*"])
    assert url_of(request(x_forwarded_host="evil.example"), ID, config) == "https://up.example/x/a1b2"


def test_the_location_may_be_a_path() -> None:
    config = Config(base_path="/files", relative_location=True, trusted_proxies=["*"])
    assert url_of(request(script_name="/app", x_forwarded_host="evil.example"), ID, config) == "/app/files/a1b2"


def test_the_app_may_write_urls_of_its_own() -> None:
    config = Config(url_for=lambda asked, upload_id: f"https://{asked.host}/u?id={upload_id}")
    assert url_of(request(), ID, config) == "https://up.example/u?id=a1b2"


MOUNTED = Config(base_path="/files")


@pytest.mark.parametrize(
    "url",
    [
        "/app/files/a1b2",
        "/app/files/a1b2/",
        "http://up.example/app/files/a1b2",
        "https://other.example:8443/app/files/a1b2",
        "//other.example/app/files/a1b2",
        "/app/files/a1b2?token=x#y",
    ],
)
def test_an_upload_is_named_by_its_path_whatever_the_host(url: str) -> None:
    assert id_from_url(url, request(script_name="/app"), MOUNTED) == ID


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a1b2",
        "/files/a1b2",
        "/app/a1b2",
        "/app/files",
        "/app/files/",
        "/app/filesa1b2",
        "/app/files/a/b",
        "/app/files/../a1b2",
        "/app/files/..",
        "/app/files/%61",
        "/app/files/a%2fb",
        "/app/files/a.info",
        "/x/app/files/a1b2",
        "http://evil.example/x?/app/files/a1b2",
        "http://evil.example/x#/app/files/a1b2",
        "http://[broken/app/files/a1b2",
        "http://a]b/app/files/a1b2",
        "file:///etc/passwd",
    ],
)
def test_what_is_not_one_of_our_urls_names_nothing(url: str) -> None:
    assert id_from_url(url, request(script_name="/app"), MOUNTED) is None


def test_the_base_is_compared_at_the_beginning_and_once() -> None:
    assert id_from_url("/files/files/a1b2", request(), MOUNTED) is None
    assert id_from_url("/files/files", request(), MOUNTED) == "files"


def test_a_configured_address_is_what_parts_are_named_by() -> None:
    config = Config(base_url="https://up.example/x/", base_path="/files")
    assert id_from_url("https://up.example/x/a1b2", request(), config) == ID
    assert id_from_url("/files/a1b2", request(), config) is None


def test_the_app_may_read_urls_of_its_own() -> None:
    config = Config(base_path="/files", id_from=lambda segment: segment.removeprefix("u-") if "u-" in segment else None)
    assert id_from_url("/files/u-a1b2", request(), config) == ID
    assert id_from_url("/files/a1b2", request(), config) is None


@given(st.text(), st.sampled_from(["", "/", "//", "http://", "http://[", "/x?"]))
def test_any_text_is_a_url_of_ours_or_nothing(text: str, start: str) -> None:
    found = id_from_url(start + text, request(), Config())
    assert found is None or is_valid_id(found)


@given(st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9._~-]{0,20}\Z").filter(is_valid_id))
def test_an_upload_is_found_at_its_own_location(upload_id: str) -> None:
    asked = request(script_name="/app", x_forwarded_host="cdn.example")
    assert id_from_url(url_of(asked, upload_id, BEHIND), asked, BEHIND) == upload_id
