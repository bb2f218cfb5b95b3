"""An app's answer laid over ours."""

from __future__ import annotations

import pytest

from tuspy_server.models import Response, StoredResponse
from tuspy_server.protocol.merge import merge

OURS = Response(status=201, headers=(("Location", "/a"), ("Upload-Offset", "5"), ("Cache-Control", "no-store")))


def test_without_an_answer_of_the_apps_ours_stands() -> None:
    assert merge(OURS, None) is OURS


@pytest.mark.parametrize("kind", [Response, StoredResponse])
def test_the_apps_status_body_and_fields_count_and_the_rest_is_ours(
    kind: type[Response] | type[StoredResponse],
) -> None:
    given = kind(status=200, headers=(("cache-control", "private"), ("X-Quota", "7")), body=b"thanks")
    assert merge(OURS, given) == Response(
        status=200,
        headers=(("Location", "/a"), ("Upload-Offset", "5"), ("cache-control", "private"), ("X-Quota", "7")),
        body=b"thanks",
    )


@pytest.mark.parametrize("field", ["Content-Length", "content-length", "Transfer-Encoding", "Connection"])
def test_framing_stays_the_servers(field: str) -> None:
    assert merge(OURS, Response(status=200, headers=((field, "1"),), body=b"thanks")).headers == OURS.headers


@pytest.mark.parametrize("status", [204, 205, 304, 103])
def test_a_status_that_has_no_body_loses_it(status: int) -> None:
    assert merge(OURS, Response(status=status, body=b"would be read as the next answer")).body == b""


@pytest.mark.parametrize(
    ("name", "value"), [("X-A", "a\r\nSet-Cookie: b"), ("X-A", "a\0"), ("X\nA", "a"), ("", "a"), ("X-A", "a\n")]
)
def test_an_answer_that_would_break_out_of_its_line_cannot_be_made(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        Response(status=200, headers=((name, value),))


@pytest.mark.parametrize("status", [0, 99, 600, -1])
def test_a_status_that_is_none_cannot_be_made(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        Response(status=status)
