"""Answers of the draft, in every version."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.protocol.drafts import (
    NOW,
    PARTIAL,
    URL,
    VERSIONS,
    T,
    U,
    append,
    call,
    complete,
    create,
    ended,
    fields,
    is_final,
    limits_in,
    of,
    refuse,
    upload,
)
from tuspy_server import Limits, Response, State, UploadInfo
from tuspy_server.errors import (
    BodyInterrupted,
    BodyTooLarge,
    ChecksumMismatch,
    DigestMismatch,
    InconsistentLength,
    InvalidContentType,
    InvalidField,
    OffsetMismatch,
    RejectUpload,
    StoreFailed,
    StoreUnavailable,
    TusError,
    UploadCompleted,
    UploadFailed,
    UploadGone,
    UploadInterrupted,
    UploadNotFound,
    UploadTooLarge,
    UploadTooSmall,
)
from tuspy_server.models import StoredResponse
from tuspy_server.protocol.dialect import Refusal
from tuspy_server.protocol.draft import Draft, discovery
from tuspy_server.protocol.draft_profiles import NEWEST

every_version = pytest.mark.parametrize("version", VERSIONS)
until_5 = pytest.mark.parametrize("version", range(3, 6))
until_6 = pytest.mark.parametrize("version", range(3, 7))
since_6 = pytest.mark.parametrize("version", range(6, 10))
since_7 = pytest.mark.parametrize("version", range(7, 10))
MISMATCH, INCONSISTENT, COMPLETED = (
    f"https://iana.org/assignments/http-problem-types#{name}"
    for name in ("mismatching-upload-offset", "inconsistent-upload-length", "completed-upload")
)
ASKED = [create(8, True), create(8, False), append(8, True), append(8, False), call("HEAD", U), call("DELETE", U)]


def answers(version: int, info: UploadInfo) -> list[Response]:
    """One of every kind that tells an upload's state."""
    draft, asked = of(version), append(version, True)
    return [
        draft.created(asked, info, URL, NOW),
        draft.appended(asked, info, URL, NOW),
        draft.completed(asked, info, None, URL, NOW),
        draft.described(asked, info, NOW),
    ]


@every_version
def test_every_answer_to_a_named_version_names_it(version: int) -> None:
    asked = append(version, True)
    found = [*answers(version, upload()), of(version).terminated(asked), refuse(version, asked, UploadNotFound())]
    assert {fields(answer)["upload-draft-interop-version"] for answer in found} == {str(version)}


def test_no_answer_names_a_version_that_the_request_did_not() -> None:
    draft = Draft(NEWEST, is_named=False)
    assert "upload-draft-interop-version" not in fields(draft.described(call("HEAD", U), upload(), NOW))


@every_version
def test_no_answer_is_kept_by_a_cache(version: int) -> None:
    asked = append(version, True)
    errors = [UploadNotFound(), UploadGone(), OffsetMismatch(expected=3), StoreFailed()]
    found = [*answers(version, upload()), of(version).terminated(asked), *(refuse(version, asked, e) for e in errors)]
    assert {fields(answer)["cache-control"] for answer in found} == {"no-store"}


@every_version
def test_a_creation_that_goes_on_is_201_with_location_and_offset(version: int) -> None:
    answer = of(version).created(create(version, False), upload(offset=4), URL, NOW)
    assert (answer.status, fields(answer)["location"], fields(answer)["upload-offset"]) == (201, URL, "4")
    assert is_final(version, answer) is False


@every_version
def test_an_append_that_goes_on_tells_offset_and_that_more_is_to_come(version: int) -> None:
    answer = of(version).appended(append(version, False), upload(offset=4), URL, NOW)
    assert answer.status == (201 if version <= 6 else 204)
    assert fields(answer)["upload-offset"] == "4"
    assert is_final(version, answer) is False
    assert "location" not in fields(answer)


@every_version
@pytest.mark.parametrize("asked", [create(8, True), append(8, True)])
def test_the_end_is_201_where_the_app_gives_no_answer(version: int, asked: object) -> None:
    answer = of(version).completed(append(version, True), ended(), None, URL, NOW)
    assert (answer.status, fields(answer)["location"], fields(answer)["upload-offset"]) == (201, URL, "10")
    assert is_final(version, answer) is True


@every_version
@pytest.mark.parametrize("status", [200, 204, 303, 400, 500])
def test_the_end_is_what_the_app_answers_whatever_its_status(version: int, status: int) -> None:
    given = StoredResponse(status=status, headers=(("X-Photo", "7"), ("Content-Type", "text/html")), body=b"hi")
    answer = of(version).completed(append(version, True), ended(), given, URL, NOW)
    assert answer.status == status
    assert answer.body == (b"" if status == 204 else b"hi")
    assert (fields(answer)["x-photo"], fields(answer)["upload-offset"]) == ("7", "10")
    assert is_final(version, answer) is True
    assert ("location" in fields(answer)) is (version <= 6)


@every_version
def test_the_apps_answer_keeps_its_location_and_caching_but_never_our_fields(version: int) -> None:
    ours = ("Upload-Complete", "Upload-Incomplete", "upload-offset", "UPLOAD-LENGTH", "Upload-Draft-Interop-Version")
    given = StoredResponse(
        status=201,
        headers=(("location", "/photos/7"), ("Cache-Control", "max-age=5"), *((name, "9") for name in ours)),
    )
    answer = of(version).completed(append(version, True), ended(), given, URL, NOW)
    assert (fields(answer)["location"], fields(answer)["cache-control"]) == ("/photos/7", "max-age=5")
    assert (fields(answer)["upload-offset"], fields(answer)["upload-length"]) == ("10", "10")
    assert is_final(version, answer) is True


@every_version
@pytest.mark.parametrize(
    ("info", "final"),
    [
        (upload(), False),
        (upload(offset=10, length=10), False),
        (upload(state=State.FINISHING, offset=10, length=10), False),
        (ended(), True),
    ],
)
def test_retrieval_is_204_with_offset_and_completeness(version: int, info: UploadInfo, final: bool) -> None:
    answer = of(version).described(call("HEAD", U), info, NOW)
    assert (answer.status, fields(answer)["upload-offset"]) == (204, str(info.offset))
    assert is_final(version, answer) is final


@every_version
def test_the_length_is_told_where_it_is_known(version: int) -> None:
    for answer in answers(version, upload(length=100)):
        assert fields(answer)["upload-length"] == "100"
    for answer in answers(version, upload()):
        assert "upload-length" not in fields(answer)


@every_version
def test_cancellation_is_204(version: int) -> None:
    assert of(version).terminated(call("DELETE", U)).status == 204


# Limits

LIMITS = Limits(max_size=1000, min_size=5, max_append_size=50, min_append_size=2)


@since_6
def test_limits_are_told_with_every_state(version: int) -> None:
    info = upload(limits=LIMITS, expires=NOW + timedelta(seconds=90.9))
    lifetime = "expires" if version == 6 else "max-age"
    told = {"max-size": 1000, "min-size": 5, "max-append-size": 50, "min-append-size": 2, lifetime: 90}
    for answer in answers(version, info):
        assert limits_in(answer) == told


@since_6
def test_the_time_left_shrinks_and_is_never_negative(version: int) -> None:
    info = upload(expires=NOW + timedelta(seconds=10))
    draft = of(version)
    left = [
        limits_in(draft.described(call("HEAD", U), info, NOW + timedelta(seconds=later))) for later in (0, 4, 10, 20)
    ]
    assert [next(iter(found.values())) for found in left if found] == [10, 6, 0, 0]


@since_6
def test_no_limit_is_told_as_a_minimum_of_zero(version: int) -> None:
    assert limits_in(of(version).described(call("HEAD", U), upload(), NOW)) == {"min-size": 0}
    complete_one = ended(expires=NOW + timedelta(seconds=5))
    assert limits_in(of(version).described(call("HEAD", U), complete_one, NOW)) == {"min-size": 0}


@until_5
def test_versions_until_5_know_no_limits(version: int) -> None:
    for answer in answers(version, upload(limits=LIMITS)):
        assert limits_in(answer) is None


@since_6
def test_a_limit_beyond_15_digits_is_told_as_the_largest_number(version: int) -> None:
    answer = of(version).described(call("HEAD", U), upload(limits=Limits(max_size=2**63)), NOW)
    assert limits_in(answer) == {"max-size": 10**15 - 1}


@since_6
@pytest.mark.parametrize("error", [UploadTooLarge, UploadTooSmall])
def test_a_refusal_for_a_limit_tells_all_limits(version: int, error: type[UploadTooLarge | UploadTooSmall]) -> None:
    answer = refuse(version, create(version, True), error(limits=LIMITS))
    assert answer.status == (413 if error is UploadTooLarge else 400)
    assert limits_in(answer) == {"max-size": 1000, "min-size": 5, "max-append-size": 50, "min-append-size": 2}
    assert is_final(version, answer) is False
    assert "location" not in fields(answer)


@pytest.mark.parametrize(("version", "lifetime"), [(None, "max-age"), (3, "max-age"), (6, "expires"), (9, "max-age")])
def test_discovery_tells_the_limits_and_the_type_of_appends(version: int | None, lifetime: str) -> None:
    limits = Limits(max_size=2**60, min_append_size=3, max_age=60.0)
    found = discovery(call("OPTIONS", T, version=version, limits=limits))
    assert found["Upload-Limit"] == f"max-size={10**15 - 1}, min-append-size=3, {lifetime}=60"
    assert PARTIAL in found["Accept-Patch"].split(", ")


def test_discovery_without_limits_is_never_empty() -> None:
    assert discovery(call("OPTIONS", T))["Upload-Limit"] == "min-size=0"


# Refusals


@every_version
@pytest.mark.parametrize("info", [upload(offset=7), ended(offset=7, length=7)])
def test_another_offset_is_409_with_the_true_one_and_never_final(version: int, info: UploadInfo) -> None:
    answer = refuse(version, append(version, True), OffsetMismatch(expected=7, provided=3), info)
    assert (answer.status, fields(answer)["upload-offset"]) == (409, "7")
    assert is_final(version, answer) is False
    if version < 6:
        assert fields(answer)["content-type"].startswith("text/plain")
        return
    assert fields(answer)["content-type"] == "application/problem+json"
    told = json.loads(answer.body)
    assert (told["type"], told["status"], told["expected-offset"], told["provided-offset"]) == (MISMATCH, 409, 7, 3)


@every_version
@pytest.mark.parametrize("error", [InconsistentLength(), BodyTooLarge()])
def test_an_inconsistent_length_is_400_and_never_final(version: int, error: TusError) -> None:
    answer = refuse(version, append(version, True), error, upload(offset=7))
    assert (answer.status, fields(answer)["upload-offset"]) == (400, "7")
    assert is_final(version, answer) is False
    if version >= 7:
        told = json.loads(answer.body)
        assert (told["type"], told["status"]) == (INCONSISTENT, 400)
        assert set(told) == {"type", "title", "status", "detail"}


@every_version
def test_an_append_to_a_completed_upload_is_400_and_never_final(version: int) -> None:
    answer = refuse(version, append(version, False), UploadCompleted(), ended())
    assert answer.status == 400
    assert is_final(version, answer) is False
    if version >= 6:
        assert json.loads(answer.body).get("type") == (COMPLETED if version <= 8 else None)


@every_version
def test_an_unknown_upload_is_404_and_tells_nothing(version: int) -> None:
    for info in (None, upload(offset=7, length=9, limits=LIMITS)):
        answer = refuse(version, append(version, True), UploadNotFound(), info)
        assert answer.status == 404
        assert not {"upload-offset", "upload-length", "upload-limit", "location"} & set(fields(answer))


@every_version
def test_a_removed_upload_is_gone_or_not_found_in_versions_that_want_it_so(version: int) -> None:
    assert refuse(version, call("HEAD", U), UploadGone()).status == (404 if version <= 6 else 410)


@every_version
def test_a_wrong_content_digest_is_400(version: int) -> None:
    answer = refuse(version, append(version, True), ChecksumMismatch(), upload(offset=4))
    assert (answer.status, fields(answer)["upload-offset"], is_final(version, answer)) == (400, "4", False)


@every_version
def test_another_type_is_415_with_the_one_that_is_wanted(version: int) -> None:
    answer = refuse(version, append(version, True), InvalidContentType(accept=PARTIAL), upload(offset=4))
    assert (answer.status, fields(answer)["accept-patch"], fields(answer)["upload-offset"]) == (415, PARTIAL, "4")
    assert is_final(version, answer) is False


@every_version
def test_a_refusal_of_the_finished_upload_is_the_final_answer(version: int) -> None:
    failed = ended(state=State.FAILED)
    for error in (RejectUpload("no", status=422), DigestMismatch()):
        assert is_final(version, refuse(version, append(version, True), error, failed)) is True


@every_version
def test_a_refusal_before_the_end_is_not(version: int) -> None:
    assert is_final(version, refuse(version, create(version, True), RejectUpload("no"))) is False
    assert is_final(version, refuse(version, append(version, True), RejectUpload("no"), upload())) is False


@every_version
def test_trouble_of_ours_is_never_the_final_answer(version: int) -> None:
    for error in (TusError(), StoreFailed(), StoreUnavailable(), BodyInterrupted()):
        answer = refuse(version, append(version, True), error, upload(offset=4))
        assert (answer.status, is_final(version, answer)) == (error.status, False)
        assert fields(answer)["upload-offset"] == "4"


@every_version
@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH"])
def test_the_answer_a_failed_upload_was_given_is_repeated(version: int, method: str) -> None:
    given = StoredResponse(status=422, headers=(("X-Why", "virus"),), body=b"virus")
    answer = refuse(version, call(method, U), UploadFailed(given))
    assert (answer.status, fields(answer)["x-why"], answer.body) == (422, "virus", b"virus")
    assert is_final(version, answer) is True


@every_version
def test_a_failed_upload_without_an_answer_is_gone(version: int) -> None:
    assert refuse(version, call("PATCH", U), UploadFailed()).status == (404 if version <= 6 else 410)
    given = StoredResponse(status=422)
    assert refuse(version, call("DELETE", U), UploadFailed(given)).status == (404 if version <= 6 else 410)


@every_version
@pytest.mark.parametrize("error", [StoreFailed(), StoreUnavailable(), TusError()])
def test_retrieval_never_answers_5xx(version: int, error: TusError) -> None:
    answer = refuse(version, call("HEAD", U), error)
    assert (answer.status, fields(answer)["retry-after"]) == (423, "1")


@every_version
def test_a_creation_that_broke_off_names_the_upload_and_is_no_success(version: int) -> None:
    draft = of(version)
    for failure in (BodyInterrupted(), UploadInterrupted()):
        answer = draft.interrupted(create(version, True, size=9), upload(offset=4), failure, URL, NOW)
        assert answer.status >= 400
        assert (fields(answer)["location"], fields(answer)["upload-offset"]) == (URL, "4")
        assert is_final(version, answer) is False


@every_version
def test_an_ordinary_request_gets_no_field_of_the_draft(version: int) -> None:
    answer = refuse(version, call("POST", T, version=version), InvalidField())
    assert answer.status == 400
    assert not [name for name in fields(answer) if name.startswith("upload-")]


@since_6
def test_every_other_error_is_explained_as_a_problem_without_a_type(version: int) -> None:
    answer = refuse(version, append(version, True), StoreFailed("the store failed"), upload())
    assert fields(answer)["content-type"] == "application/problem+json"
    assert json.loads(answer.body) == {
        "title": "Internal Server Error",
        "code": "ERR_STORE_FAILED",
        "status": 500,
        "detail": "the store failed",
    }


@every_version
def test_what_a_hook_says_is_plain_text(version: int) -> None:
    answer = refuse(version, append(version, True), RejectUpload("too many"), upload())
    assert fields(answer)["content-type"].startswith("text/plain")
    assert b"too many" in answer.body


@every_version
def test_errors_on_head_and_delete_say_nothing_about_completeness(version: int) -> None:
    for method in ("HEAD", "GET", "DELETE"):
        answer = of(version).refused(call(method, U), Refusal(error=UploadNotFound()), NOW)
        assert is_final(version, answer) is None


@every_version
def test_completeness_is_read_as_it_was_written(version: int) -> None:
    profile = of(version).profile
    for value in (True, False):
        name, text = profile.write_complete(value)
        assert profile.read_complete(call("POST", T, {name: text}).request) is value
        assert complete(version, value) == {name: text}
