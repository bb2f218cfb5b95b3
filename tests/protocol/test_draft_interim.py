"""104 answers: what they hold, and where none may be sent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.protocol.drafts import (
    NOW,
    URL,
    VERSIONS,
    U,
    append,
    call,
    create,
    fields,
    limits_in,
    of,
    read_append,
    read_create,
    upload,
)
from tuspy_server import Config, Limits
from tuspy_server.protocol.dialects import choose
from tuspy_server.protocol.draft import Draft
from tuspy_server.protocol.draft_profiles import NEWEST
from tuspy_server.protocol.intents import Append

every_version = pytest.mark.parametrize("version", VERSIONS)
ON = Config(interim_responses=True)
DIGEST = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
APPENDING = Append(id="abc", protocol="rufh", offset=0)


@every_version
def test_a_new_upload_is_announced_with_location_and_limits(version: int) -> None:
    info = upload(limits=Limits(max_size=9), expires=NOW + timedelta(seconds=60))
    asked = create(version, True, size=5, config=ON)
    assert read_create(asked).announce
    headers = of(version).announced(asked, info, URL, NOW)
    assert headers is not None
    told = fields(headers)
    assert (told["location"], told["upload-draft-interop-version"]) == (URL, str(version))
    lifetime = {"expires": 60} if version == 6 else {"max-age": 60}
    assert limits_in(headers) == (None if version < 6 else {"max-size": 9} | lifetime)
    assert "upload-offset" not in told


@every_version
def test_progress_tells_the_offset_and_nothing_else(version: int) -> None:
    asked = append(version, True, size=5, config=ON)
    headers = of(version).progressed(asked, read_append(asked), 1234)
    if version < 5:
        assert headers is None
        return
    assert headers is not None
    assert fields(headers) == {"upload-offset": "1234", "upload-draft-interop-version": str(version)}


@every_version
def test_nothing_is_announced_by_default(version: int) -> None:
    asked = create(version, True, size=5)
    assert not read_create(asked).announce
    assert of(version).announced(asked, upload(), URL, NOW) is None
    assert of(version).progressed(asked, APPENDING, 1) is None


@every_version
@pytest.mark.parametrize("http_version", ["0.9", "1.0"])
def test_nothing_is_announced_to_http_1_0(version: int, http_version: str) -> None:
    asked = create(version, True, size=5, config=ON, http_version=http_version)
    assert not read_create(asked).announce
    assert of(version).announced(asked, upload(), URL, NOW) is None
    assert of(version).progressed(asked, APPENDING, 1) is None


@pytest.mark.parametrize("http_version", ["1.1", "2", "3"])
def test_newer_http_is_told(http_version: str) -> None:
    asked = create(8, True, size=5, config=ON, http_version=http_version)
    assert of(8).announced(asked, upload(), URL, NOW) is not None


@pytest.mark.parametrize("named", [None, "10", "x", ""])
def test_nothing_is_announced_to_a_version_that_we_do_not_speak(named: str | None) -> None:
    asked = call("POST", create(8, True).target, {"Upload-Complete": "?1"}, version=named, size=5, config=ON)
    draft = choose(asked.request, "POST", asked.target, ON)
    assert draft == Draft(NEWEST, is_named=False)
    assert not read_create(asked).announce
    assert draft.announced(asked, upload(), URL, NOW) is None
    assert draft.progressed(asked, APPENDING, 1) is None


@pytest.mark.parametrize("version", [6, 7, 8])
def test_no_progress_is_told_of_content_that_is_to_be_verified(version: int) -> None:
    asked = append(version, True, size=5, config=ON, Content_Digest=DIGEST)
    assert of(version).progressed(asked, read_append(asked), 3) is None


@every_version
@pytest.mark.parametrize("location", ["/a\r\nX: y", "/a\nb", "/a\0", "/ü", "/\u2028"])
def test_no_field_that_is_not_plain_ascii_is_announced(version: int, location: str) -> None:
    assert of(version).announced(create(version, True, config=ON), upload(), location, NOW) is None


def test_a_retrieval_announces_nothing() -> None:
    asked = call("HEAD", U, config=ON)
    dialect = choose(asked.request, "HEAD", U, ON)
    assert dialect.announced(asked, upload(), URL, NOW) is None
