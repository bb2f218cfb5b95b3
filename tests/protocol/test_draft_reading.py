"""Requests of the draft into intents, in every version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocol.drafts import (
    PARTIAL,
    VERSIONS,
    T,
    U,
    append,
    call,
    complete,
    create,
    read,
    read_append,
    read_create,
)
from tuspy_server.errors import (
    InconsistentLength,
    InvalidChecksum,
    InvalidContentType,
    InvalidField,
    InvalidMetadata,
    InvalidOffset,
    MethodNotAllowed,
    NotSupported,
    UploadNotFound,
    UploadTooLarge,
)
from tuspy_server.protocol.dialect import Capabilities
from tuspy_server.protocol.intents import Describe, Terminate

every_version = pytest.mark.parametrize("version", VERSIONS)
since_4 = pytest.mark.parametrize("version", range(4, 10))
until_5 = pytest.mark.parametrize("version", range(3, 6))
until_6 = pytest.mark.parametrize("version", range(3, 7))
since_6 = pytest.mark.parametrize("version", range(6, 10))
since_7 = pytest.mark.parametrize("version", range(7, 10))
with_digests = pytest.mark.parametrize("version", range(6, 9))
DIGEST = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"


# Creation


@every_version
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_creation_says_whether_its_content_is_all(version: int, last: bool, method: str) -> None:
    intent = read_create(create(version, last, method=method))
    assert (intent.protocol, intent.complete) == ("rufh", last)


@every_version
@pytest.mark.parametrize("value", [None, "", "1", "true", "?2", "?1, ?0"])
def test_a_request_that_does_not_say_so_creates_nothing(version: int, value: str | None) -> None:
    field = "Upload-Incomplete" if version == 3 else "Upload-Complete"
    with pytest.raises(InvalidField):
        read(call("POST", T, {field: value}, version=version))


def test_version_3_and_the_others_do_not_know_each_others_field() -> None:
    with pytest.raises(InvalidField):
        read(call("POST", T, {"Upload-Complete": "?1"}, version=3))
    with pytest.raises(InvalidField):
        read(call("POST", T, {"Upload-Incomplete": "?0"}, version=5))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "TRACE", "PROPFIND"])
def test_only_methods_with_content_create(method: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        read(call(method, T, complete(8, True), version=8))
    assert caught.value.allow == "POST, PUT, PATCH, OPTIONS"


@since_4
@pytest.mark.parametrize("size", [0, 10])
def test_the_last_content_tells_the_length(version: int, size: int) -> None:
    assert read_create(create(version, True, size=size)).length == size
    assert read_append(append(version, True, offset=7, size=size)).length == 7 + size


def test_version_3_leaves_the_length_to_the_end() -> None:
    assert read_create(create(3, True, size=10)).length is None


@every_version
def test_content_that_is_not_the_last_tells_no_length(version: int) -> None:
    assert read_create(create(version, False, size=10)).length is None


@every_version
def test_chunked_content_tells_no_length(version: int) -> None:
    intent = read_create(create(version, True, size=None))
    assert intent.length is None
    assert intent.content.size is None


@every_version
def test_the_length_is_taken_where_it_is_stated(version: int) -> None:
    assert read_create(create(version, False, Upload_Length="100")).length == 100
    assert read_append(append(version, False, Upload_Length="100")).length == 100


@every_version
@pytest.mark.parametrize("value", ["-1", "1.0", '"100"', "100, 200", "9" * 16, ""])
def test_an_unusable_length_counts_as_absent(version: int, value: str) -> None:
    assert read_create(create(version, False, Upload_Length=value)).length is None


@since_4
def test_two_lengths_of_one_request_must_agree(version: int) -> None:
    with pytest.raises(InconsistentLength):
        read(create(version, True, size=10, Upload_Length="11"))
    with pytest.raises(InconsistentLength):
        read(append(version, True, offset=5, size=10, Upload_Length="14"))
    assert read_append(append(version, True, offset=5, size=10, Upload_Length="15")).length == 15


@every_version
def test_what_an_integer_field_cannot_express_is_too_large(version: int) -> None:
    with pytest.raises(UploadTooLarge):
        read(create(version, False, size=10**15))
    with pytest.raises(UploadTooLarge):
        read(append(version, False, offset=10**15 - 1, size=1))


@every_version
def test_an_offset_on_a_creation_is_ignored(version: int) -> None:
    assert read_create(create(version, True, Upload_Offset="17")).length == (None if version == 3 else 0)


def test_an_unknown_length_needs_a_store_that_can_take_it_later() -> None:
    with pytest.raises(NotSupported):
        read(call("POST", T, complete(8, False), version=8, extensions=("creation",)))
    read(call("POST", T, complete(8, True), version=8, size=5, extensions=("creation",)))


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('inline; filename="a.txt"', "a.txt"),
        ('attachment; filename="a.txt"', "a.txt"),
        ("form-data; name=x; filename=a.txt", "a.txt"),
        ("inline; filename=\"a.txt\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("inline; filename*=UTF-8''%e2%82%ac.txt; filename=\"a.txt\"", "€.txt"),
        ("inline; FileName*=iso-8859-1'en'%A3.txt", "£.txt"),
        ('inline; filename="\xe2\x82\xac.txt"', "€.txt"),
        ('inline; filename="\xfc.txt"', "ü.txt"),
        ('inline; filename="../../etc/passwd"', "passwd"),
        ('inline; filename="C:\\\\dir\\\\a.txt"', "a.txt"),
        ("inline; filename*=UTF-8''..%2f..%2fa%00b%0d%0a.txt", "ab.txt"),
        ("inline; filename*=UTF-8''a%E2%80%AEtxt.exe", "atxt.exe"),
        ('inline; filename=".."', None),
        ("inline", None),
        ("", None),
        (None, None),
    ],
)
def test_the_file_name_of_a_creation_becomes_metadata(disposition: str | None, expected: str | None) -> None:
    intent = read_create(create(8, False, Content_Disposition=disposition))
    assert intent.metadata.get("filename") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("image/png", "image/png"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (PARTIAL, None),
        ("Application/Partial-Upload; x=y", None),
        ("application/offset+octet-stream", None),
        (None, None),
    ],
)
def test_the_type_of_a_creation_becomes_metadata(value: str | None, expected: str | None) -> None:
    intent = read_create(create(8, False, Content_Type=value))
    assert intent.metadata.get("filetype") == expected
    assert intent.origin is not None
    assert dict(intent.origin.headers).get("content-type") == expected


def test_upload_metadata_is_understood_and_counts_more() -> None:
    intent = read_create(create(5, False, Upload_Metadata="filename Yi50eHQ=,k dg==", Content_Type="image/png"))
    assert intent.metadata == {"filename": "b.txt", "k": "v", "filetype": "image/png"}
    assert intent.raw_metadata == "filename Yi50eHQ=,k dg=="
    with pytest.raises(InvalidMetadata):
        read(create(5, False, Upload_Metadata="k !!"))


def test_a_deferred_length_of_tus_is_ignored() -> None:
    assert read_create(create(6, False, Upload_Defer_Length="1")).length is None


def test_the_request_is_kept_without_credentials() -> None:
    kept = {"content-encoding": "gzip", "content-language": "de", "prefer": "return=minimal", "accept": "text/html"}
    headers = {**kept, **complete(8, False), "Authorization": "Bearer x", "Cookie": "a=b"}
    intent = read_create(call("PUT", T, headers, version=8))
    assert intent.origin is not None
    assert (intent.origin.method, intent.origin.target) == ("PUT", "http://test/files")
    assert dict(intent.origin.headers) == kept


# Digests


@with_digests
def test_a_content_digest_is_to_be_compared(version: int) -> None:
    for intent in (
        read_create(create(version, True, size=5, Content_Digest=DIGEST)),
        read_append(append(version, True, size=5, Content_Digest=DIGEST)),
    ):
        assert intent.checksum is not None
        assert intent.checksum.algorithm == "sha256"


@with_digests
def test_repr_digest_and_the_wish_for_one_are_kept(version: int) -> None:
    intent = read_create(create(version, False, Repr_Digest=DIGEST, Want_Repr_Digest="sha-512=3"))
    assert intent.origin is not None
    assert dict(intent.origin.headers) == {"repr-digest": DIGEST, "want-repr-digest": "sha-512=3"}
    with pytest.raises(InvalidChecksum):
        read(create(version, False, Repr_Digest="sha-256=:AAAA:"))


@pytest.mark.parametrize("version", [3, 4, 5, 9])
def test_versions_without_digests_ignore_them(version: int) -> None:
    intent = read_create(create(version, True, Content_Digest="sha-256=:AAAA:", Repr_Digest="sha-256=:AAAA:"))
    assert intent.checksum is None
    assert intent.origin is not None
    assert intent.origin.headers == ()


def test_a_store_that_cannot_stage_ignores_content_digest() -> None:
    asked = append(8, True, Content_Digest=DIGEST)
    asked = replace(asked, capabilities=Capabilities(extensions=("creation-defer-length",)))
    assert read_append(asked).checksum is None


# Append


@every_version
@pytest.mark.parametrize("last", [True, False])
def test_an_append_says_where_and_whether_it_is_the_last(version: int, last: bool) -> None:
    intent = read_append(append(version, last, offset=7, size=3))
    assert (intent.id, intent.protocol, intent.offset, intent.complete) == ("abc", "rufh", 7, last)


@until_6
def test_an_append_that_does_not_say_so_is_the_last_until_version_6(version: int) -> None:
    headers = {"Upload-Complete": None, "Upload-Incomplete": None, "Upload-Offset": "0", "Content-Type": PARTIAL}
    assert read_append(call("PATCH", U, headers, version=version)).complete is True


@since_7
def test_an_append_that_does_not_say_so_is_refused_from_version_7_on(version: int) -> None:
    with pytest.raises(InvalidField):
        read(call("PATCH", U, {"Upload-Offset": "0", "Content-Type": PARTIAL}, version=version))


@since_6
@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "application/offset+octet-stream"])
def test_an_append_of_another_type_is_refused_from_version_6_on(version: int, media_type: str | None) -> None:
    with pytest.raises(InvalidContentType) as caught:
        read(append(version, True, Content_Type=media_type))
    assert caught.value.headers == (("Accept-Patch", PARTIAL),)


@since_6
def test_parameters_and_case_of_the_type_do_not_matter(version: int) -> None:
    read_append(append(version, True, Content_Type="Application/Partial-Upload;x=1"))


@until_5
@pytest.mark.parametrize("media_type", [None, PARTIAL, "application/octet-stream"])
def test_an_append_is_of_any_type_until_version_5(version: int, media_type: str | None) -> None:
    read_append(append(version, True, Content_Type=media_type))


@every_version
@pytest.mark.parametrize("value", [None, "", "-1", "1.0", "x", "0, 0", "9" * 16])
def test_an_append_needs_an_offset(version: int, value: str | None) -> None:
    with pytest.raises(InvalidOffset):
        read(append(version, True, Upload_Offset=value))


@every_version
def test_content_beyond_the_length_ends_an_upload_from_version_7_on(version: int) -> None:
    assert read_append(append(version, False)).invalidates is (version >= 7)


@every_version
def test_limits_of_appends_bind_a_creation_from_version_8_on(version: int) -> None:
    assert read_create(create(version, False)).limited is (version >= 8)


# Retrieval and cancellation


@every_version
def test_head_describes_and_delete_terminates(version: int) -> None:
    assert read(call("HEAD", U, version=version)) == Describe(id="abc")
    assert read(call("DELETE", U, version=version)) == Terminate(id="abc")


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Complete", "Upload-Incomplete"])
@every_version
def test_fields_of_an_append_on_them_are_refused_until_version_6(version: int, method: str, field: str) -> None:
    asked = call(method, U, {field: "?0" if field != "Upload-Offset" else "0"}, version=version)
    if version > 6:
        read(asked)
        return
    with pytest.raises(InvalidField):
        read(asked)


@every_version
def test_cancelling_where_it_is_not_supported_is_refused(version: int) -> None:
    asked = replace(call("DELETE", U, version=version), capabilities=Capabilities(terminates=False))
    with pytest.raises(MethodNotAllowed):
        read(asked)


@every_version
def test_a_path_that_names_nothing_is_not_found(version: int) -> None:
    with pytest.raises(UploadNotFound):
        read(call("PATCH", None, complete(version, True), version=version))
