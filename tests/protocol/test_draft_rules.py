"""What the draft lets happen to an upload: lengths, limits, the end and what comes after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.protocol.drafts import NOW, VERSIONS, append, create, ended, read_append, read_create, upload
from tuspy_server import Limits, State, UploadInfo
from tuspy_server.errors import (
    BodyInterrupted,
    BodyTooLarge,
    InconsistentLength,
    OffsetMismatch,
    UploadCompleted,
    UploadFailed,
    UploadGone,
    UploadTooLarge,
    UploadTooSmall,
)
from tuspy_server.models import StoredResponse
from tuspy_server.protocol import rules

every_version = pytest.mark.parametrize("version", VERSIONS)
since_4 = pytest.mark.parametrize("version", range(4, 10))
until_6 = pytest.mark.parametrize("version", range(3, 7))


# Lengths


@every_version
def test_a_length_is_recorded_when_it_is_first_told(version: int) -> None:
    plan = rules.plan_append(read_append(append(version, False, Upload_Length="100")), upload(), NOW)
    assert plan.declare == 100
    again = rules.plan_append(read_append(append(version, False, Upload_Length="100")), upload(length=100), NOW)
    assert again.declare is None


@every_version
@pytest.mark.parametrize("value", ["99", "101"])
def test_a_length_never_changes(version: int, value: str) -> None:
    with pytest.raises(InconsistentLength):
        rules.plan_append(read_append(append(version, False, Upload_Length=value)), upload(length=100), NOW)


@since_4
def test_last_content_that_misses_the_length_is_refused_before_it_is_read(version: int) -> None:
    for size in (4, 6):
        intent = read_append(append(version, True, offset=5, size=size))
        with pytest.raises(InconsistentLength):
            rules.plan_append(intent, upload(offset=5, length=10), NOW)
    assert rules.plan_append(read_append(append(version, True, offset=5, size=5)), upload(offset=5), NOW).declare == 10


@every_version
def test_a_length_below_the_offset_is_inconsistent(version: int) -> None:
    with pytest.raises(InconsistentLength):
        rules.plan_append(read_append(append(version, False, offset=9, Upload_Length="8")), upload(offset=9), NOW)


@every_version
def test_content_beyond_the_length_is_refused_before_it_is_read(version: int) -> None:
    intent = read_append(append(version, False, size=11))
    with pytest.raises(BodyTooLarge) as caught:
        rules.plan_append(intent, upload(length=10), NOW)
    assert rules.is_invalidated(intent, upload(length=10), caught.value) is (version >= 7)


@every_version
def test_a_completed_upload_is_never_invalidated(version: int) -> None:
    intent = read_append(append(version, False, size=11))
    for state in (State.COMPLETE, State.FINISHING, State.FAILED):
        assert not rules.is_invalidated(intent, ended(state=state), BodyTooLarge())
    assert not rules.is_invalidated(intent, upload(), BodyInterrupted())
    assert not rules.is_invalidated(intent, upload(), UploadTooLarge())
    assert not rules.is_invalidated(intent, upload(), InconsistentLength())


@every_version
def test_content_of_a_creation_beyond_its_length_is_refused(version: int) -> None:
    with pytest.raises(BodyTooLarge):
        rules.check_create(read_create(create(version, False, size=11, Upload_Length="10")), Limits())


@every_version
def test_another_offset_counts_before_everything_else(version: int) -> None:
    for info in (upload(offset=5), ended(), upload(offset=5, limits=Limits(max_size=6))):
        with pytest.raises(OffsetMismatch) as caught:
            rules.plan_append(read_append(append(version, False, offset=3, size=99)), info, NOW)
        assert (caught.value.expected, caught.value.provided) == (info.offset, 3)


def test_reaching_the_length_ends_nothing() -> None:
    full = upload(length=10, offset=10)
    assert not rules.is_finishing(full)
    assert not rules.is_complete(full)
    assert rules.is_expired(replace(full, expires=NOW), NOW)


# After the end


@every_version
@pytest.mark.parametrize("state", [State.COMPLETE, State.FINISHING])
def test_an_empty_last_append_asks_for_the_answer_again(version: int, state: State) -> None:
    for size in (0, None):
        rules.plan_append(read_append(append(version, True, offset=10, size=size)), ended(state=state), NOW)


@until_6
def test_so_does_one_that_does_not_say_that_it_is_the_last(version: int) -> None:
    intent = read_append(append(version, True, offset=10, Upload_Complete=None, Upload_Incomplete=None))
    rules.plan_append(intent, ended(), NOW)


@every_version
@pytest.mark.parametrize("state", [State.COMPLETE, State.FINISHING])
def test_nothing_else_can_follow_the_end(version: int, state: State) -> None:
    info = ended(state=state)
    with pytest.raises(UploadCompleted):
        rules.plan_append(read_append(append(version, False, offset=10)), info, NOW)
    with pytest.raises(BodyTooLarge):
        rules.plan_append(read_append(append(version, False, offset=10, size=1)), info, NOW)
    with pytest.raises(InconsistentLength if version > 3 else BodyTooLarge):
        rules.plan_append(read_append(append(version, True, offset=10, size=1)), info, NOW)


def test_a_failed_upload_remembers_its_answer_until_it_is_forgotten() -> None:
    given = StoredResponse(status=422)
    failed = ended(state=State.FAILED, response=given, expires=NOW + timedelta(seconds=1))
    with pytest.raises(UploadFailed) as caught:
        rules.check_available(failed, NOW)
    assert caught.value.response == given
    with pytest.raises(UploadGone) as later:
        rules.check_available(failed, NOW + timedelta(seconds=1))
    assert not isinstance(later.value, UploadFailed)


# Limits

LIMITS = Limits(max_size=100, min_size=10, max_append_size=50, min_append_size=5)


@every_version
def test_a_length_above_the_maximum_is_refused(version: int) -> None:
    with pytest.raises(UploadTooLarge) as caught:
        rules.check_create(read_create(create(version, False, Upload_Length="101")), LIMITS)
    assert caught.value.limits == LIMITS
    with pytest.raises(UploadTooLarge):
        rules.check_create(read_create(create(version, True, size=101)), LIMITS)


@every_version
def test_an_append_past_the_maximum_is_refused(version: int) -> None:
    info = upload(offset=90, limits=LIMITS)
    for asked in (append(version, False, offset=90, size=11), append(version, False, offset=90, Upload_Length="101")):
        with pytest.raises(UploadTooLarge) as caught:
            rules.plan_append(read_append(asked), info, NOW)
        assert caught.value.limits == LIMITS


@every_version
def test_the_minimum_holds_for_uploads_that_go_on(version: int) -> None:
    with pytest.raises(UploadTooSmall):
        rules.check_create(read_create(create(version, False, Upload_Length="9")), LIMITS)
    rules.check_create(read_create(create(version, False, Upload_Length="10")), LIMITS)
    rules.check_create(read_create(create(version, False)), LIMITS)


@every_version
def test_the_minimum_never_refuses_a_whole_upload(version: int) -> None:
    rules.check_create(read_create(create(version, True, size=1)), LIMITS)
    rules.check_create(read_create(create(version, True)), LIMITS)


@every_version
def test_an_append_above_the_maximum_of_appends_is_refused(version: int) -> None:
    for last in (True, False):
        with pytest.raises(UploadTooLarge):
            rules.plan_append(read_append(append(version, last, size=51)), upload(limits=LIMITS), NOW)
        rules.plan_append(read_append(append(version, last, size=50)), upload(limits=LIMITS), NOW)


@every_version
def test_a_small_append_is_refused_unless_it_is_the_last(version: int) -> None:
    for size in (0, 4):
        with pytest.raises(UploadTooSmall):
            rules.plan_append(read_append(append(version, False, size=size)), upload(limits=LIMITS), NOW)
        rules.plan_append(read_append(append(version, True, size=size)), upload(limits=LIMITS), NOW)


@every_version
def test_limits_of_appends_bind_creations_from_version_8_on(version: int) -> None:
    for last, size in ((True, 51), (False, 4)):
        intent = read_create(create(version, last, size=size))
        if version < 8:
            rules.check_create(intent, LIMITS)
            continue
        with pytest.raises((UploadTooLarge, UploadTooSmall)):
            rules.check_create(intent, LIMITS)


@every_version
def test_a_creation_without_content_is_never_too_small(version: int) -> None:
    rules.check_create(read_create(create(version, False)), LIMITS)


def test_tus_knows_no_limits_of_appends() -> None:
    intent = replace(read_append(append(8, False, size=51)), protocol="tus/1.0.0", complete=None)
    rules.plan_append(intent, upload(protocol="tus/1.0.0", limits=LIMITS), NOW)


@pytest.mark.parametrize(
    ("info", "limited", "room", "excess"),
    [
        (upload(), False, None, UploadTooLarge),
        (upload(length=10, offset=3), False, 7, BodyTooLarge),
        (upload(length=100, offset=3, limits=LIMITS), True, 50, UploadTooLarge),
        (upload(length=100, offset=3, limits=LIMITS), False, 97, BodyTooLarge),
        (upload(length=100, offset=60, limits=LIMITS), True, 40, BodyTooLarge),
        (upload(offset=60, limits=LIMITS), True, 40, UploadTooLarge),
        (upload(offset=10, limits=LIMITS), True, 50, UploadTooLarge),
        (upload(offset=10, limits=LIMITS), False, 90, UploadTooLarge),
    ],
)
def test_a_body_is_bounded_by_the_length_and_the_limits(
    info: UploadInfo, limited: bool, room: int | None, excess: type[UploadTooLarge]
) -> None:
    assert rules.room(info, limited=limited) == room
    assert type(rules.excess(info, limited=limited)) is excess
