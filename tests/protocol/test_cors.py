"""Cross-origin fields: who is told that he may, and what."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tuspy_server.config import Config, Cors, Origins
from tuspy_server.errors import OriginNotAllowed
from tuspy_server.models import Request
from tuspy_server.protocol import cors

ORIGIN = "https://app.example"


def answered(config: Cors, origin: str | None = ORIGIN, method: str = "PATCH") -> Mapping[str, str]:
    headers = () if origin is None else (("origin", origin),)
    return dict(cors.cors_headers(Request(method=method, url="", path="", headers=headers), config))


def listed(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


def test_any_origin_is_welcome_by_default_and_no_cookie() -> None:
    headers = answered(Cors())
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers
    assert "Vary" not in headers


def test_a_request_of_no_other_origin_gets_no_field() -> None:
    assert answered(Cors(), None) == {}


def test_the_whole_can_be_switched_off() -> None:
    assert answered(Cors(enabled=False)) == {}
    assert answered(Cors(enabled=False, allow_origins=["https://other.example"])) == {}


@pytest.mark.parametrize(
    "allowed",
    [[ORIGIN, "https://other.example"], re.compile(r"https://\w+\.example"), lambda origin: origin.endswith("example")],
    ids=["list", "pattern", "callable"],
)
def test_a_named_origin_is_echoed_and_told_to_caches(allowed: Origins) -> None:
    headers = answered(Cors(allow_origins=allowed))
    assert (headers["Access-Control-Allow-Origin"], headers["Vary"]) == (ORIGIN, "Origin")


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ([ORIGIN], "https://evil.example"),
        ([ORIGIN], "null"),
        ([], ORIGIN),
        (re.compile(r"https://app\.example"), "https://app.example.evil.org"),
        (re.compile(r"https://app\.example"), "http://evil.org/https://app.example"),
        (re.compile(r"https://app\.example"), "https://app.example\n"),
        (re.compile(r"https://a|https://b"), "https://a.evil.org"),
        (lambda origin: False, ORIGIN),
    ],
)
def test_another_origin_is_refused(allowed: Origins, origin: str) -> None:
    with pytest.raises(OriginNotAllowed):
        answered(Cors(allow_origins=allowed), origin)


def test_credentials_are_allowed_to_named_origins_only() -> None:
    headers = answered(Cors(allow_origins=[ORIGIN], allow_credentials=True))
    assert (headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Credentials"]) == (ORIGIN, "true")
    with pytest.raises(ValueError, match="every site"):
        Cors(allow_credentials=True)


def test_one_origin_as_a_bare_string_is_refused() -> None:
    with pytest.raises(ValueError, match="a list of origins"):
        Cors(allow_origins=ORIGIN)  # it would be taken for a list of letters


def test_a_preflight_is_told_methods_fields_and_for_how_long() -> None:
    config = Cors(extra_methods=["PROPFIND"], extra_headers=["X-Plan"], extra_expose=["X-Quota"], max_age=60)
    headers = answered(config, method="OPTIONS")
    assert listed(headers["Access-Control-Allow-Methods"]) >= {"post", "head", "patch", "delete", "get", "propfind"}
    assert listed(headers["Access-Control-Allow-Headers"]) >= {
        "authorization",
        "content-type",
        "tus-resumable",
        "upload-checksum",
        "upload-concat",
        "upload-defer-length",
        "upload-length",
        "upload-metadata",
        "upload-offset",
        "x-http-method-override",
        "x-plan",
    }
    assert headers["Access-Control-Max-Age"] == "60"
    assert "Access-Control-Expose-Headers" not in headers


def test_a_script_may_read_every_field_of_the_protocol() -> None:
    headers = answered(Cors(extra_expose=["X-Quota"]))
    assert listed(headers["Access-Control-Expose-Headers"]) >= {
        "location",
        "retry-after",
        "tus-extension",
        "tus-max-size",
        "tus-resumable",
        "tus-version",
        "upload-concat",
        "upload-defer-length",
        "upload-expires",
        "upload-length",
        "upload-metadata",
        "upload-offset",
        "x-quota",
    }
    assert "Access-Control-Allow-Methods" not in headers


def test_the_configuration_holds_the_default_rules() -> None:
    assert Config().cors == Cors()
