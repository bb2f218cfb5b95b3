"""Calls, records and readings of fields for the tests of the resumable-uploads draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import http_sf

from tuspy_server import Config, Limits, Request, Response, State, UploadInfo
from tuspy_server.errors import InvalidField, TusError
from tuspy_server.models import Headers
from tuspy_server.protocol.dialect import Call, Capabilities, Refusal
from tuspy_server.protocol.dialects import choose
from tuspy_server.protocol.draft import Draft
from tuspy_server.protocol.draft_profiles import PROFILES
from tuspy_server.protocol.fields import content as content_of
from tuspy_server.protocol.intents import NO_CONTENT, Append, Content, Create, Intent
from tuspy_server.protocol.resolve import Collection, Target, UploadPath

VERSIONS = tuple(range(3, 10))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
URL = "http://test/files/abc"
PARTIAL = "application/partial-upload"
EXTENSIONS = ("creation", "creation-with-upload", "creation-defer-length", "checksum", "termination")
T = Collection()
U = UploadPath("abc")


def of(version: int) -> Draft:
    return Draft(PROFILES[version])


def complete(version: int, value: bool) -> dict[str, str]:
    """The field that says whether this content is the last, as a client of that version writes it."""
    return (
        {"Upload-Incomplete": "?0" if value else "?1"} if version == 3 else {"Upload-Complete": "?1" if value else "?0"}
    )


def call(
    method: str,
    target: Target,
    headers: Mapping[str, str | None] | None = None,
    *,
    version: int | str | None = None,
    size: int | None = 0,
    config: Config | None = None,
    http_version: str = "1.1",
    extensions: tuple[str, ...] = EXTENSIONS,
    limits: Limits | None = None,
) -> Call:
    """A routed request. `size` is its Content-Length, None for chunked coding."""
    found = {name.lower(): value for name, value in (headers or {}).items() if value is not None}
    if version is not None:
        found["upload-draft-interop-version"] = str(version)
    if size is None:
        found["transfer-encoding"] = "chunked"
    elif size:
        found["content-length"] = str(size)
    path = "" if isinstance(target, Collection) else "/abc"
    request = Request(
        method=method,
        url=f"http://test/files{path}",
        path=path,
        headers=tuple(found.items()),
        http_version=http_version,
        host="test",
    )
    capabilities = Capabilities(extensions=extensions, limits=limits or Limits())
    return Call(
        request=request,
        method=method,
        target=target,
        config=config or Config(),
        capabilities=capabilities,
        content=framed(request),
    )


def framed(request: Request) -> Content:
    """What the engine makes of the framing fields before a dialect is asked."""
    try:
        return content_of(request)
    except InvalidField:
        return NO_CONTENT


def read(asked: Call) -> Intent:
    return choose(asked.request, asked.method, asked.target, asked.config).read(asked)


def create(
    version: int,
    last: bool,
    *,
    size: int | None = 0,
    method: str = "POST",
    config: Config | None = None,
    http_version: str = "1.1",
    **headers: str | None,
) -> Call:
    fields = complete(version, last) | {name.replace("_", "-"): value for name, value in headers.items()}
    return call(method, T, fields, version=version, size=size, config=config, http_version=http_version)


def append(
    version: int,
    last: bool,
    *,
    offset: int = 0,
    size: int | None = 0,
    config: Config | None = None,
    **headers: str | None,
) -> Call:
    fields: dict[str, str | None] = {"Content-Type": PARTIAL, "Upload-Offset": str(offset)}
    fields |= complete(version, last) | {name.replace("_", "-"): value for name, value in headers.items()}
    return call("PATCH", U, fields, version=version, size=size, config=config)


def read_create(asked: Call) -> Create:
    intent = read(asked)
    assert isinstance(intent, Create)
    return intent


def read_append(asked: Call) -> Append:
    intent = read(asked)
    assert isinstance(intent, Append)
    return intent


def upload(**changes: Any) -> UploadInfo:
    """An open RUFH upload of unknown length."""
    return replace(UploadInfo(id="abc", length=None, protocol="rufh", created=NOW), **changes)


def ended(**changes: Any) -> UploadInfo:
    return upload(**{"length": 10, "offset": 10, "state": State.COMPLETE, **changes})


def refuse(version: int, asked: Call, error: TusError, info: UploadInfo | None = None) -> Response:
    return of(version).refused(asked, Refusal(error=error, upload=info), NOW)


def fields(answer: Response | Headers) -> dict[str, str]:
    """Header fields by lower-case name; none may occur twice."""
    headers = answer.headers if isinstance(answer, Response) else answer
    found = {name.lower(): value for name, value in headers}
    assert len(found) == len(headers)
    return found


def is_final(version: int, answer: Response) -> bool | None:
    """What the answer says about completeness, read as a client of that version does; None if it says nothing."""
    value = fields(answer).get("upload-incomplete" if version == 3 else "upload-complete")
    if value is None:
        return None
    parsed = http_sf.parse(value.encode(), tltype="item")
    assert isinstance(parsed, tuple)
    return bool(parsed[0]) is (version != 3)


def limits_in(answer: Response | Headers) -> dict[str, int] | None:
    """The members of Upload-Limit as a client reads them."""
    value = fields(answer).get("upload-limit")
    if value is None:
        return None
    parsed = http_sf.parse(value.encode(), tltype="dictionary")
    assert isinstance(parsed, dict)
    return {key: int(str(member[0])) for key, member in parsed.items() if isinstance(member, tuple)}
