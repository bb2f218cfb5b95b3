"""tus 1.0.0: requests into intents, outcomes into answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuspy_server.config import Config
from tuspy_server.errors import (
    AppendForbidden,
    InvalidConcat,
    InvalidContentType,
    InvalidField,
    MethodNotAllowed,
    NotSupported,
    StoreFailed,
    TusError,
    UnsupportedVersion,
    UploadNotFound,
)
from tuspy_server.models import Kind, Limits, Request, State, StoredResponse, UploadInfo
from tuspy_server.protocol.checksums import ALGORITHMS
from tuspy_server.protocol.dialect import Call, Capabilities, Dialect, Refusal
from tuspy_server.protocol.fields import content
from tuspy_server.protocol.intents import Append, Content, Create, Describe, Terminate
from tuspy_server.protocol.resolve import Collection, Target, UploadPath
from tuspy_server.protocol.tus1 import MOST_PARTS, Tus1, discovery, wants

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERYTHING = ("creation", "creation-with-upload", "creation-defer-length", "termination", "concatenation", "checksum")
APPEND = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
T = Collection()
U = UploadPath("abc")
tus: Dialect = Tus1()


def call(
    method: str,
    target: Target,
    headers: Mapping[str, str] | None = None,
    *,
    version: str | None = "1.0.0",
    extensions: tuple[str, ...] = EVERYTHING,
    limits: Limits | None = None,
) -> Call:
    fields = {name.lower(): value for name, value in (headers or {}).items()}
    if version is not None:
        fields["tus-resumable"] = version
    request = Request(method=method, url="", path="", headers=tuple(fields.items()), host="test")
    capabilities = Capabilities(
        extensions=extensions, terminates="termination" in extensions, limits=limits or Limits()
    )
    return Call(
        request=request,
        method=method,
        target=target,
        config=Config(),
        capabilities=capabilities,
        content=content(request),
    )


def upload(length: int | None = 10, offset: int = 0, **fields: object) -> UploadInfo:
    return UploadInfo(id="abc", length=length, offset=offset, **fields)  # type: ignore[arg-type]  # any field


def test_the_field_alone_tells_that_it_is_tus() -> None:
    assert wants(call("POST", T, version="nonsense").request)
    assert not wants(call("POST", T, version=None).request)


@pytest.mark.parametrize("version", [None, "", "0.2.2", "1.0", "1.0.1", "2.0.0", "1.0.0, 1.0.0", " 1.0.0"])
def test_another_version_is_not_spoken(version: str | None) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        tus.read(call("POST", T, {"Upload-Length": "5"}, version=version))
    assert dict(caught.value.headers) == {"Tus-Version": "1.0.0"}


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("PUT", T, "POST, OPTIONS"),
        ("HEAD", T, "POST, OPTIONS"),
        ("POST", U, "HEAD, GET, PATCH, DELETE, OPTIONS"),
        ("TRACE", U, "HEAD, GET, PATCH, DELETE, OPTIONS"),
    ],
)
def test_a_method_that_does_not_fit_tells_those_that_do(method: str, target: Target, allow: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        tus.read(call(method, target))
    assert dict(caught.value.headers) == {"Allow": allow}


def test_termination_is_allowed_where_the_server_can() -> None:
    assert tus.read(call("DELETE", U)) == Terminate(id="abc")
    with pytest.raises(MethodNotAllowed):
        tus.read(call("DELETE", U, extensions=("creation",)))


def test_a_path_that_names_nothing_is_not_found() -> None:
    for method in ("POST", "HEAD", "PATCH", "DELETE"):
        with pytest.raises(UploadNotFound):
            tus.read(call(method, None))


def test_head_asks_where_an_upload_stands() -> None:
    assert tus.read(call("HEAD", U)) == Describe(id="abc")


def test_a_creation_is_read_whole() -> None:
    headers = {
        "Upload-Length": "10",
        "Content-Length": "4",
        "Content-Type": APPEND["Content-Type"],
        "Upload-Metadata": "name eA==",
        "Upload-Concat": "partial",
        "Upload-Checksum": "crc32 AAAAAA==",
    }
    intent = tus.read(call("POST", T, headers))
    assert isinstance(intent, Create)
    assert (intent.length, intent.content, intent.kind, intent.complete) == (10, Content(size=4), Kind.PARTIAL, None)
    assert (intent.metadata, intent.raw_metadata, intent.raw_concat) == ({"name": "x"}, "name eA==", "partial")
    assert intent.checksum is not None
    assert intent.checksum.algorithm == "crc32"


def test_an_append_is_read_whole() -> None:
    headers = {**APPEND, "Upload-Offset": "4", "Upload-Length": "10", "Content-Length": "6"}
    assert tus.read(call("PATCH", U, headers)) == Append(
        id="abc", protocol="tus/1.0.0", offset=4, content=Content(size=6), length=10
    )


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, InvalidField),
        ({"Upload-Length": "x"}, InvalidField),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, InvalidField),
        ({"Upload-Defer-Length": "0"}, InvalidField),
        ({"Upload-Length": "5", "Upload-Metadata": ","}, InvalidField),
        ({"Upload-Length": "5", "Upload-Checksum": "sha1"}, InvalidField),
        ({"Upload-Length": "5", "Content-Length": "5"}, InvalidContentType),
        ({"Upload-Length": "5", "Content-Length": "5", "Content-Type": "text/plain"}, InvalidContentType),
        ({"Upload-Length": "5", "Upload-Concat": "whole"}, InvalidConcat),
        ({"Upload-Concat": "final;"}, InvalidConcat),
        ({"Upload-Concat": "final;/a" + " /a" * MOST_PARTS}, InvalidConcat),
        ({"Upload-Concat": "final; /a"}, InvalidConcat),
        ({"Upload-Concat": "final;/a  /b"}, InvalidConcat),
        ({"Upload-Concat": "final;/a "}, InvalidConcat),
        ({"Upload-Concat": "final;/a", "Upload-Length": "5"}, InvalidField),
        ({"Upload-Concat": "final;/a", "Upload-Defer-Length": "1"}, InvalidField),
        ({"Upload-Concat": "final;/a/b"}, UploadNotFound),
        ({"Upload-Concat": "final;http://[/a"}, UploadNotFound),
        ({"Upload-Concat": "final;/a", **APPEND, "Content-Length": "5"}, AppendForbidden),
    ],
)
def test_a_creation_that_breaks_the_rules_is_refused(headers: dict[str, str], error: type[TusError]) -> None:
    with pytest.raises(error):
        tus.read(call("POST", T, headers))


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"Upload-Offset": "0"}, InvalidContentType),
        ({"Content-Type": APPEND["Content-Type"]}, InvalidField),
        ({**APPEND, "Upload-Offset": "x"}, InvalidField),
        ({**APPEND, "Upload-Length": "x"}, InvalidField),
        ({**APPEND, "Upload-Checksum": "sha3 AAAA"}, InvalidField),
    ],
)
def test_an_append_that_breaks_the_rules_is_refused(headers: dict[str, str], error: type[TusError]) -> None:
    with pytest.raises(error):
        tus.read(call("PATCH", U, headers))


def test_what_the_server_cannot_do_is_refused_or_ignored_as_it_was_never_announced() -> None:
    bare = ("creation",)
    with pytest.raises(NotSupported):
        tus.read(call("POST", T, {"Upload-Defer-Length": "1"}, extensions=bare))
    with pytest.raises(NotSupported):
        tus.read(call("PATCH", U, {**APPEND, "Upload-Length": "5"}, extensions=bare))
    with pytest.raises(InvalidConcat):
        tus.read(call("POST", T, {"Upload-Length": "5", "Upload-Concat": "partial"}, extensions=bare))
    ignored = tus.read(call("PATCH", U, {**APPEND, "Upload-Checksum": "nonsense"}, extensions=bare))
    assert isinstance(ignored, Append)
    assert ignored.checksum is None


def test_a_final_lists_its_parts_in_order_by_absolute_or_relative_urls() -> None:
    intent = tus.read(call("POST", T, {"Upload-Concat": "final;/b http://up.example/a //x.example/b"}))
    assert isinstance(intent, Create)
    assert (intent.kind, intent.parts, intent.length) == (Kind.FINAL, ("b", "a", "b"), None)
    assert intent.raw_concat == "final;/b http://up.example/a //x.example/b"


def test_discovery_announces_what_there_is_and_no_more() -> None:
    assert discovery(call("OPTIONS", T, extensions=())) == {"Tus-Resumable": "1.0.0", "Tus-Version": "1.0.0"}
    everything = discovery(call("OPTIONS", T, limits=Limits(max_size=7)))
    assert everything["Tus-Extension"] == ",".join(EVERYTHING)
    assert everything["Tus-Max-Size"] == "7"
    assert everything["Tus-Checksum-Algorithm"].split(",") == list(ALGORITHMS)


def test_checksum_algorithms_have_plain_names_and_sha1_is_among_them() -> None:
    assert "sha1" in ALGORITHMS
    for name in ALGORITHMS:
        assert name.isascii()
        assert name == name.lower()
        assert not set(name) & set(" ,")


@pytest.mark.parametrize(
    ("info", "expected", "absent"),
    [
        (upload(), {"Upload-Offset": "0", "Upload-Length": "10"}, {"Upload-Defer-Length", "Content-Length"}),
        (upload(None, 4), {"Upload-Offset": "4", "Upload-Defer-Length": "1"}, {"Upload-Length"}),
        (upload(10, 10, state=State.COMPLETE), {"Upload-Offset": "10", "Content-Length": "10"}, {"Upload-Expires"}),
        (upload(0, 0, state=State.COMPLETE), {"Upload-Offset": "0", "Upload-Length": "0"}, set()),
        (upload(raw_metadata="a YQ==, b"), {"Upload-Metadata": "a YQ==, b"}, set()),
        (upload(kind=Kind.PARTIAL, raw_concat="partial"), {"Upload-Concat": "partial", "Upload-Offset": "0"}, set()),
        (upload(kind=Kind.FINAL, raw_concat="final;/a"), {"Upload-Concat": "final;/a"}, {"Upload-Offset"}),
        (upload(None, kind=Kind.FINAL), {}, {"Upload-Offset", "Upload-Length", "Upload-Defer-Length"}),
        (
            upload(10, 10, kind=Kind.FINAL, state=State.COMPLETE),
            {"Upload-Offset": "10", "Upload-Length": "10"},
            set(),
        ),
        (upload(expires=NOW), {"Upload-Expires": "Thu, 01 Jan 2026 00:00:00 GMT"}, set()),
    ],
)
def test_an_upload_is_described_by_its_fields(info: UploadInfo, expected: dict[str, str], absent: set[str]) -> None:
    answer = tus.described(call("HEAD", U), info, NOW)
    told = dict(answer.headers)
    assert answer.status == 200
    assert {name: told[name] for name in expected} == expected
    assert not absent & set(told)
    assert (told["Tus-Resumable"], told["Cache-Control"]) == ("1.0.0", "no-store")


@pytest.mark.parametrize(("target", "status"), [(T, 201), (U, 204)])
def test_the_end_is_answered_like_any_other_part_unless_the_app_wants_it_otherwise(target: Target, status: int) -> None:
    done = upload(10, 10, state=State.COMPLETE)
    plain = tus.completed(call("POST" if target == T else "PATCH", target), done, None, "/abc", NOW)
    app = StoredResponse(status=200, headers=(("X-Id", "7"),), body=b"thanks")
    given = tus.completed(call("PATCH", target), done, app, "/abc", NOW)
    assert (plain.status, dict(plain.headers)["Upload-Offset"]) == (status, "10")
    assert (given.status, given.body, dict(given.headers)["X-Id"]) == (200, b"thanks", "7")
    assert dict(given.headers)["Upload-Offset"] == "10"


def test_a_first_body_that_broke_off_is_a_creation_that_tells_its_true_offset() -> None:
    answer = tus.interrupted(call("POST", T), upload(10, 4), StoreFailed(), "/abc", NOW)
    told = dict(answer.headers)
    assert (answer.status, told["Location"], told["Upload-Offset"]) == (201, "/abc", "4")


def test_nothing_is_said_before_the_answer() -> None:
    assert tus.announced(call("POST", T), upload(), "/abc", NOW) is None
    assert tus.progressed(call("POST", T), Append(id="abc", protocol="tus/1.0.0", offset=0), 5) is None


def test_an_error_tells_its_code_and_neither_where_nor_how_far() -> None:
    answer = tus.refused(call("PATCH", U), Refusal(error=UploadNotFound(), upload=upload(expires=NOW)), NOW)
    told = dict(answer.headers)
    assert (answer.status, answer.body) == (404, b"ERR_UPLOAD_NOT_FOUND: upload not found\n")
    assert told["Upload-Expires"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert not {"Location", "Upload-Offset"} & set(told)


def test_head_tells_of_our_trouble_that_it_will_pass() -> None:
    refusal = Refusal(error=StoreFailed("secret"))
    asked, appended = tus.refused(call("HEAD", U), refusal, NOW), tus.refused(call("PATCH", U), refusal, NOW)
    assert (asked.status, dict(asked.headers)["Retry-After"], appended.status) == (423, "1", 500)
    assert b"secret" not in asked.body + appended.body


def test_an_upload_that_was_removed_expires_no_more() -> None:
    told = dict(tus.terminated(call("DELETE", U)).headers)
    assert told == {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
    assert "Upload-Expires" in dict(tus.appended(call("PATCH", U), upload(expires=NOW + timedelta(1)), "", NOW).headers)


TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
FIELDS = [
    "upload-length",
    "upload-offset",
    "upload-defer-length",
    "upload-metadata",
    "upload-concat",
    "upload-checksum",
    "content-type",
]


@given(
    st.dictionaries(st.sampled_from(FIELDS), TEXT),
    st.sampled_from(["POST", "PATCH", "HEAD", "DELETE", "PUT"]),
    st.booleans(),
)
def test_any_text_in_any_field_gives_an_intent_or_an_error(
    headers: dict[str, str], method: str, collection: bool
) -> None:
    try:
        intent = tus.read(call(method, T if collection else U, headers))
    except TusError as error:
        answer = tus.refused(call(method, U), Refusal(error=error), NOW)
        assert 400 <= answer.status < 500 or answer.status == 501
    else:
        assert isinstance(intent, Create | Append | Describe | Terminate)
