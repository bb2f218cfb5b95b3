"""Decisions about uploads: what may happen to them, when they end, and how much they take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tuspy_server.config import Config
from tuspy_server.errors import (
    AppendForbidden,
    BodyTooLarge,
    ChecksumMismatch,
    InconsistentLength,
    InvalidConcat,
    InvalidLength,
    OffsetMismatch,
    TusError,
    UploadFailed,
    UploadGone,
    UploadNotFinished,
    UploadNotFound,
    UploadTooLarge,
)
from tuspy_server.models import Checksum, Kind, Limits, State, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.intents import Append, Content, Create

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def upload(length: int | None = 10, offset: int = 0, **fields: object) -> UploadInfo:
    return UploadInfo(id="a", length=length, offset=offset, **fields)  # type: ignore[arg-type]  # any field


def append(offset: int = 0, size: int | None = 0, **fields: object) -> Append:
    return Append(id="a", protocol=rules.TUS, offset=offset, content=Content(size=size), **fields)  # type: ignore[arg-type]


def create(length: int | None = 10, size: int | None = 0, **fields: object) -> Create:
    return Create(protocol=rules.TUS, length=length, content=Content(size=size), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("intent", "info", "declare"),
    [
        (append(0, 10), upload(), None),
        (append(4, 6), upload(offset=4), None),
        (append(10), upload(offset=10), None),
        (append(0, None), upload(), None),
        (append(5, 5, length=10), upload(None, 5), 10),
        (append(5, length=5), upload(None, 5), 5),
        (append(0, 3, length=10), upload(), None),
        (append(0, 7), upload(None, limits=Limits(max_size=7)), None),
    ],
)
def test_an_append_that_fits_is_planned(intent: Append, info: UploadInfo, declare: int | None) -> None:
    assert rules.plan_append(intent, info, NOW) == rules.AppendPlan(declare=declare)


@pytest.mark.parametrize(
    ("intent", "info", "error"),
    [
        (append(3), upload(), OffsetMismatch),
        (append(0), upload(offset=3), OffsetMismatch),
        (append(0, 11), upload(), BodyTooLarge),
        (append(4, 7), upload(offset=4), BodyTooLarge),
        (append(0, 6, length=5), upload(None), BodyTooLarge),
        (append(0, 8), upload(None, limits=Limits(max_size=7)), UploadTooLarge),
        (append(5, 3), upload(None, 5, limits=Limits(max_size=7)), UploadTooLarge),
        (append(0, length=8), upload(None, limits=Limits(max_size=7)), UploadTooLarge),
        (append(0, length=11), upload(), InconsistentLength),
        (append(5, length=4), upload(None, 5), InvalidLength),
        (append(0), upload(kind=Kind.FINAL), AppendForbidden),
        (append(0), upload(state=State.GONE), UploadGone),
        (append(0), upload(expires=NOW), UploadGone),
        (append(0), upload(state=State.FAILED), UploadFailed),
        (append(0, checksum=Checksum(algorithm="sha1", digest=bytes(20))), upload(), ChecksumMismatch),
    ],
)
def test_an_append_that_cannot_be_is_refused_before_a_byte_is_read(
    intent: Append, info: UploadInfo, error: type[TusError]
) -> None:
    with pytest.raises(error):
        rules.plan_append(intent, info, NOW)


@pytest.mark.parametrize(
    ("intent", "limits", "error"),
    [
        (create(3, 4), Limits(), BodyTooLarge),
        (create(11), Limits(max_size=10), UploadTooLarge),
        (create(None, 11), Limits(max_size=10), UploadTooLarge),
        (create(10, checksum=Checksum(algorithm="md5", digest=bytes(16))), Limits(), ChecksumMismatch),
    ],
)
def test_a_creation_that_cannot_be_is_refused_before_a_byte_is_read(
    intent: Create, limits: Limits, error: type[TusError]
) -> None:
    with pytest.raises(error):
        rules.check_create(intent, limits)


@pytest.mark.parametrize("intent", [create(10, 10), create(0), create(None, None), create(None)])
def test_a_creation_that_fits_passes(intent: Create) -> None:
    rules.check_create(intent, Limits(max_size=10))


FULL = upload(10, 10)


@pytest.mark.parametrize(
    ("info", "complete", "finishing"),
    [
        (upload(), False, False),
        (FULL, False, True),
        (upload(0), False, True),
        (upload(None, 10), False, False),
        (upload(10, 10, protocol=rules.RUFH), False, False),
        (upload(10, 10, kind=Kind.FINAL), False, False),
        (upload(10, 10, kind=Kind.PARTIAL), False, True),
        (upload(10, 10, state=State.FINISHING), False, True),
        (upload(10, 10, state=State.COMPLETE), True, False),
        (upload(10, 10, state=State.FAILED), False, False),
    ],
)
def test_the_end_of_an_upload_is_told_by_its_record_and_its_bytes(
    info: UploadInfo, complete: bool, finishing: bool
) -> None:
    assert (rules.is_complete(info), rules.is_finishing(info)) == (complete, finishing)


@pytest.mark.parametrize(
    ("info", "expired"),
    [
        (upload(expires=NOW), True),
        (upload(expires=NOW - SECOND), True),
        (upload(expires=NOW + SECOND), False),
        (upload(), False),
        (upload(10, 10, expires=NOW), False),
        (upload(0, expires=NOW), False),
        (upload(10, 10, state=State.FINISHING, expires=NOW), False),
        (upload(10, 10, state=State.COMPLETE, expires=NOW), False),
        (upload(10, 10, state=State.FAILED, expires=NOW), True),
        (upload(10, 10, protocol=rules.RUFH, expires=NOW), True),
    ],
)
def test_only_what_is_not_at_its_end_expires(info: UploadInfo, expired: bool) -> None:
    assert rules.is_expired(info, NOW) is expired


def test_an_expiry_is_the_age_limit_from_now_on() -> None:
    assert rules.expiry(Limits(max_age=60), NOW) == NOW + 60 * SECOND
    assert rules.expiry(Limits(), NOW) is None


def test_the_limits_of_an_upload_are_those_configured_at_its_creation() -> None:
    config = Config(min_size=1, max_append_size=5, min_append_size=2, expires_after=60, sliding=True)
    assert rules.limits_for(config, 10) == Limits(
        max_size=10, min_size=1, max_append_size=5, min_append_size=2, max_age=60, sliding=True
    )


@pytest.mark.parametrize(
    ("owner", "asker", "visible"),
    [(None, None, True), (None, "b", True), ("a", "a", True), ("a", "b", False), ("a", None, False)],
)
def test_an_upload_of_somebody_else_is_not_found(owner: str | None, asker: str | None, visible: bool) -> None:
    info = upload(principal=owner)
    if visible:
        rules.check_principal(info, asker)
    else:
        with pytest.raises(UploadNotFound):
            rules.check_principal(info, asker)


def part(length: int | None, state: State = State.COMPLETE) -> UploadInfo:
    return upload(length, length or 0, kind=Kind.PARTIAL, state=state)


@pytest.mark.parametrize(
    ("parts", "length"),
    [
        ([part(3), part(4)], 7),
        ([part(3), part(3), part(3)], 9),
        ([part(0)], 0),
        ([part(3), part(7, State.OPEN)], 10),
        ([part(3), part(None, State.OPEN)], None),
    ],
)
def test_a_final_is_as_long_as_its_parts(parts: list[UploadInfo], length: int | None) -> None:
    assert rules.plan_concat(parts, Limits(max_size=10), NOW, may_wait=True) == length


@pytest.mark.parametrize(
    ("parts", "may_wait", "error"),
    [
        ([part(3), part(4, State.OPEN)], False, UploadNotFinished),
        ([part(6), part(6)], True, UploadTooLarge),
        ([part(11), part(None, State.OPEN)], True, UploadTooLarge),
        ([upload(10, 10, state=State.COMPLETE)], True, InvalidConcat),
        ([upload(kind=Kind.FINAL)], True, InvalidConcat),
        ([part(3, State.GONE)], True, UploadGone),
        ([upload(kind=Kind.PARTIAL, expires=NOW)], True, UploadGone),
    ],
)
def test_what_cannot_be_joined_is_refused(parts: list[UploadInfo], may_wait: bool, error: type[TusError]) -> None:
    with pytest.raises(error):
        rules.plan_concat(parts, Limits(max_size=10), NOW, may_wait=may_wait)


def test_a_final_that_is_asked_for_again_has_the_same_id_and_no_other_has() -> None:
    asked = create(None, kind=Kind.FINAL, parts=("a", "b"), raw_metadata="k")
    others = [
        rules.final_id(create(None, kind=Kind.FINAL, parts=("b", "a"), raw_metadata="k"), "me", 0),
        rules.final_id(create(None, kind=Kind.FINAL, parts=("a", "b")), "me", 0),
        rules.final_id(asked, "you", 0),
        rules.final_id(asked, None, 0),
        rules.final_id(asked, "me", 1),
    ]
    assert rules.final_id(asked, "me", 0) == rules.final_id(asked, "me", 0)
    assert len({rules.final_id(asked, "me", 0), *others}) == 6


def test_a_delivery_is_told_from_every_other_and_repeats_its_id() -> None:
    one, other = upload(), UploadInfo(id="b", length=10)
    assert rules.delivery_id(one, "post_finish", "r1") == rules.delivery_id(one, "post_finish", "r2")
    assert rules.delivery_id(one, "post_receive", "r1") != rules.delivery_id(one, "post_receive", "r2")
    assert rules.delivery_id(one, "post_receive", "r1") != rules.delivery_id(upload(offset=5), "post_receive", "r1")
    assert rules.delivery_id(one, "post_finish", "r1") != rules.delivery_id(other, "post_finish", "r1")
    assert rules.delivery_id(one, "post_finish", "r1") != rules.delivery_id(one, "pre_finish", "r1")
