"""Which protocol a request speaks, and what the two see of each other's uploads."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from tests.protocol.drafts import NOW, PARTIAL, VERSIONS, T, U, call, complete, ended, fields, is_final, upload
from tuspy_server import Config, Kind, State, UploadInfo
from tuspy_server.errors import UnsupportedVersion, UploadNotFound
from tuspy_server.protocol.dialect import Capabilities, Dialect, Refusal
from tuspy_server.protocol.dialects import Undecided, check_protocol, choose
from tuspy_server.protocol.draft import Draft
from tuspy_server.protocol.draft_profiles import NEWEST
from tuspy_server.protocol.intents import Describe, Terminate
from tuspy_server.protocol.resolve import Target
from tuspy_server.protocol.tus1 import Tus1

Unversioned = Literal["newest", "off"]
NEWEST_UNNAMED = Draft(NEWEST, is_named=False)
METHODS = ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"]
LAST = {"Upload-Complete": "?1"}


def chosen(
    method: str,
    target: Target,
    headers: dict[str, str] | None = None,
    *,
    version: int | str | None = None,
    unversioned: Unversioned = "newest",
) -> Dialect:
    asked = call(method, target, headers, version=version)
    return choose(asked.request, method, target, Config(unversioned=unversioned))


def tus_upload(**changes: object) -> UploadInfo:
    return replace(upload(), protocol="tus/1.0.0", length=10, **changes)  # type: ignore[arg-type]


TUS_DONE = tus_upload(offset=10, state=State.COMPLETE)


@pytest.mark.parametrize("value", ["1.0.0", "0.2.2", ""])
@pytest.mark.parametrize("target", [T, U])
@pytest.mark.parametrize("method", METHODS)
def test_tus_resumable_alone_makes_it_tus(method: str, target: Target, value: str) -> None:
    headers = {"Tus-Resumable": value, "Content-Type": PARTIAL, **LAST}
    assert isinstance(chosen(method, target, headers, version=8), Tus1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", [T, U])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unversioned", ["newest", "off"])
def test_a_known_version_is_spoken(version: int, target: Target, method: str, unversioned: Unversioned) -> None:
    found = chosen(method, target, version=version, unversioned=unversioned)
    assert (found.draft_version, found.protocol) == (version, "rufh")


@pytest.mark.parametrize("target", [T, U])
@pytest.mark.parametrize("method", METHODS)
def test_a_newer_version_is_taken_for_the_newest_and_an_older_one_for_none(method: str, target: Target) -> None:
    assert chosen(method, target, version=10) == NEWEST_UNNAMED
    assert chosen(method, target, version="999999999999999;a") == NEWEST_UNNAMED
    for older in (0, 1, 2):
        assert isinstance(chosen(method, target, LAST, version=older), Tus1)


@pytest.mark.parametrize("version", [None, "", "x", "8.0", "?1", '"8"', "8, 8", "-8"])
def test_without_a_version_completeness_tells_a_creation(version: str | None) -> None:
    for method in ("POST", "PUT", "PATCH"):
        assert chosen(method, T, LAST, version=version) == NEWEST_UNNAMED
        assert chosen(method, T, {"Upload-Complete": "?0"}, version=version) == NEWEST_UNNAMED


@pytest.mark.parametrize(
    "headers", [{}, {"Upload-Complete": "1"}, {"Upload-Incomplete": "?1"}, {"Content-Type": PARTIAL}]
)
def test_an_ordinary_request_to_the_collection_is_left_to_tus(headers: dict[str, str]) -> None:
    assert isinstance(chosen("POST", T, headers), Tus1)


def test_without_a_version_the_type_or_completeness_tells_an_append() -> None:
    assert chosen("PATCH", U, {"Content-Type": "Application/Partial-Upload;x=1"}) == NEWEST_UNNAMED
    assert chosen("PATCH", U, LAST) == NEWEST_UNNAMED
    assert isinstance(chosen("PATCH", U, {"Content-Type": "application/offset+octet-stream"}), Tus1)
    assert isinstance(chosen("PATCH", U), Tus1)


def test_without_a_version_no_draft_is_spoken_where_it_is_off() -> None:
    assert isinstance(chosen("POST", T, LAST, unversioned="off"), Tus1)
    assert isinstance(chosen("PATCH", U, {"Content-Type": PARTIAL}, unversioned="off"), Tus1)
    assert isinstance(chosen("DELETE", U, unversioned="off"), Tus1)


@pytest.mark.parametrize("unversioned", ["newest", "off"])
def test_a_look_at_an_upload_is_decided_by_the_upload(unversioned: Unversioned) -> None:
    for method in ("HEAD", "GET"):
        assert chosen(method, U, unversioned=unversioned) == Undecided(is_draft=unversioned == "newest")
    assert chosen("DELETE", U) == Undecided()


def test_what_names_no_protocol_is_read_without_one() -> None:
    assert Undecided().read(call("HEAD", U)) == Describe(id="abc")
    assert Undecided().read(call("DELETE", U)) == Terminate(id="abc")
    with pytest.raises(UploadNotFound):
        Undecided().read(call("HEAD", None))


# What they see of each other's uploads


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
def test_an_open_upload_does_not_exist_for_the_other_protocol(version: int, method: str) -> None:
    tus, draft = Tus1(), chosen(method, U, version=version)
    with pytest.raises(UploadNotFound):
        check_protocol(upload(), tus, method)
    with pytest.raises(UploadNotFound):
        check_protocol(tus_upload(), draft, method)
    check_protocol(upload(), draft, method)
    check_protocol(tus_upload(), tus, method)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_complete_upload_may_be_looked_at_but_not_touched(version: int) -> None:
    draft = chosen("HEAD", U, version=version)
    check_protocol(TUS_DONE, draft, "HEAD")
    check_protocol(ended(), Tus1(), "HEAD")
    for method in ("PATCH", "DELETE"):
        with pytest.raises(UploadNotFound):
            check_protocol(TUS_DONE, draft, method)
        with pytest.raises(UploadNotFound):
            check_protocol(ended(), Tus1(), method)


@pytest.mark.parametrize("info", [upload(), ended(), tus_upload(), TUS_DONE])
def test_downloads_know_no_protocol(info: UploadInfo) -> None:
    for dialect in (Tus1(), NEWEST_UNNAMED, Undecided(), Undecided(is_draft=False)):
        check_protocol(info, dialect, "GET")


@pytest.mark.parametrize("unversioned", ["newest", "off"])
def test_head_without_a_protocol_finds_what_the_draft_created(unversioned: Unversioned) -> None:
    dialect = chosen("HEAD", U, unversioned=unversioned)
    for info in (upload(), ended()):
        check_protocol(info, dialect, "HEAD")
        answer = dialect.described(call("HEAD", U), info, NOW)
        assert (answer.status, is_final(9, answer)) == (204, info.state is State.COMPLETE)
        assert "upload-draft-interop-version" not in fields(answer)


def test_head_without_a_protocol_on_an_open_tus_upload_needs_the_draft_to_be_on() -> None:
    dialect = chosen("HEAD", U)
    check_protocol(tus_upload(), dialect, "HEAD")
    answer = dialect.described(call("HEAD", U), tus_upload(offset=4), NOW)
    assert (answer.status, fields(answer)["upload-offset"], is_final(9, answer)) == (204, "4", False)
    with pytest.raises(UnsupportedVersion):
        check_protocol(tus_upload(), chosen("HEAD", U, unversioned="off"), "HEAD")


@pytest.mark.parametrize("unversioned", ["newest", "off"])
def test_head_without_a_protocol_on_a_complete_tus_upload_is_a_downloads(unversioned: Unversioned) -> None:
    dialect = chosen("HEAD", U, unversioned=unversioned)
    info = replace(TUS_DONE, metadata={"filename": "a.png", "filetype": "image/png"})
    check_protocol(info, dialect, "HEAD")
    answer = dialect.described(call("HEAD", U), info, NOW)
    told = fields(answer)
    assert (answer.status, told["content-length"], told["upload-offset"]) == (200, "10", "10")
    assert (told["content-type"], told["cache-control"]) == ("image/png", "private, no-cache")
    without = replace(call("HEAD", U), capabilities=Capabilities(downloads=False))
    assert "tus-resumable" in fields(dialect.described(without, info, NOW))


def test_get_of_an_open_upload_tells_its_state_in_its_own_protocol() -> None:
    asked = call("GET", U)
    assert fields(Undecided().described(asked, tus_upload(offset=4), NOW))["tus-resumable"] == "1.0.0"
    assert is_final(9, Undecided().described(asked, upload(), NOW)) is False


def test_delete_without_a_protocol_removes_only_what_the_draft_created() -> None:
    dialect = chosen("DELETE", U)
    check_protocol(upload(), dialect, "DELETE")
    assert dialect.terminated(call("DELETE", U)).status == 204
    for info in (tus_upload(), TUS_DONE, replace(tus_upload(), kind=Kind.PARTIAL)):
        with pytest.raises(UnsupportedVersion):
            check_protocol(info, dialect, "DELETE")


@pytest.mark.parametrize("unversioned", ["newest", "off"])
def test_a_missing_version_is_told_as_tus_wants_it(unversioned: Unversioned) -> None:
    dialect = chosen("HEAD", U, unversioned=unversioned)
    answer = dialect.refused(call("HEAD", U), Refusal(error=UnsupportedVersion()), NOW)
    assert (answer.status, fields(answer)["tus-version"]) == (412, "1.0.0")
    assert dialect.refused(call("HEAD", U), Refusal(error=UploadNotFound()), NOW).status == 404


@pytest.mark.parametrize("version", VERSIONS)
def test_tus_fields_of_a_draft_request_do_not_matter(version: int) -> None:
    headers = {
        "Upload-Defer-Length": "1",
        "Upload-Concat": "partial",
        "Upload-Checksum": "x",
        **complete(version, False),
    }
    asked = call("POST", T, headers, version=version)
    chosen("POST", T, headers, version=version).read(asked)
