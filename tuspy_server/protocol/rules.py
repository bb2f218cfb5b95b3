"""Decisions: may this happen to this upload, and how much of it. Time is passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

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
    UploadCompleted,
    UploadFailed,
    UploadGone,
    UploadNotFinished,
    UploadNotFound,
    UploadTooLarge,
    UploadTooSmall,
)
from tuspy_server.models import Kind, Limits, State, UploadInfo
from tuspy_server.protocol.checksums import hasher, matches
from tuspy_server.protocol.intents import Append, Create, Intent, Terminate

TUS = "tus/1.0.0"
RUFH = "rufh"
LARGEST_BRIEF = 1 << 20  # bytes of an upload that is made durable, or hashed, while a loop waits


class Effort(Enum):
    """How long the work on a small request may take, once nothing has to be waited for."""

    BRIEF = "as long as a small file takes: an event loop may do it"
    LONG = "as long as a large upload takes to be made durable or removed: in a thread"
    COPYING = "as long as a large upload takes to be copied: in a thread for bodies"


def effort(intent: Intent | None, *, finishes: bool) -> Effort:
    """What a request asks for; None is a refusal. `finishes` says whether the store has something to do at an end."""
    if isinstance(intent, Create) and intent.kind is Kind.FINAL:
        return Effort.COPYING
    if isinstance(intent, Terminate):
        return Effort.LONG
    if isinstance(intent, Append) and (finishes or intent.complete):
        end = intent.offset + (intent.content.size or 0)
        return Effort.BRIEF if end <= LARGEST_BRIEF else Effort.LONG
    return Effort.BRIEF


def ends_by_length(info: UploadInfo) -> bool:
    """Whether reaching its length completes an upload (tus); RUFH says so explicitly."""
    return info.protocol == TUS and info.kind is not Kind.FINAL


def is_complete(info: UploadInfo) -> bool:
    """Whether an upload is finished, as far as its record and its bytes tell."""
    return info.state is State.COMPLETE


def is_finishing(info: UploadInfo) -> bool:
    """Whether all bytes are there and the rest of the end is still to be done; never removed by a sweep."""
    return info.state is State.FINISHING or (info.state is State.OPEN and ends_by_length(info) and info.is_full)


def is_unassembled(info: UploadInfo) -> bool:
    """Whether a final upload still waits for its parts."""
    return info.kind is Kind.FINAL and info.state is State.OPEN


def is_expired(info: UploadInfo, now: datetime) -> bool:
    """Whether an unfinished upload's time is over. Finished and finishing ones never expire."""
    return (
        info.expires is not None
        and info.expires <= now
        and info.state in (State.OPEN, State.FAILED)
        and not is_finishing(info)
    )


def is_outlived(info: UploadInfo, lifetime: float | None, now: datetime) -> bool:
    """Whether an unfinished upload is older than any may become, whatever its expiry says; `lifetime` in seconds."""
    if lifetime is None or info.state is not State.OPEN or is_finishing(info):
        return False
    return info.created + timedelta(seconds=lifetime) <= now


def check_available(info: UploadInfo, now: datetime) -> None:
    """Raise UploadGone for what no longer answers, UploadFailed where RUFH repeats the refusal it ended with."""
    if info.state is State.GONE or is_expired(info, now):
        raise UploadGone
    if info.state is State.FAILED:
        raise UploadFailed(info.response if info.protocol == RUFH else None)


def check_principal(info: UploadInfo, principal: str | None) -> None:
    """Another principal's upload does not exist (SEC18: 404, not 403)."""
    if info.principal is not None and info.principal != principal:
        raise UploadNotFound


def limits_for(config: Config, max_size: int | None) -> Limits:
    """The limits a new upload is created with."""
    return Limits(
        max_size=max_size,
        min_size=config.min_size,
        max_append_size=config.max_append_size,
        min_append_size=config.min_append_size,
        max_age=config.expires_after,
        sliding=config.sliding,
    )


def expiry(limits: Limits, now: datetime) -> datetime | None:
    """When an upload that was created, or touched, now runs out."""
    return None if limits.max_age is None else now + timedelta(seconds=limits.max_age)


def check_create(intent: Create, limits: Limits) -> None:
    """Raise UploadTooLarge or UploadTooSmall for sizes that are known to be so before a byte is read."""
    if not intent.content.present:
        check_empty_body(intent)
    size = intent.content.size or 0
    if intent.length is not None and size > intent.length:
        raise BodyTooLarge
    if limits.max_size is not None and max(intent.length or 0, size) > limits.max_size:
        raise UploadTooLarge(limits=limits)
    if intent.complete is False and intent.length is not None and intent.length < (limits.min_size or 0):
        raise UploadTooSmall(limits=limits)  # RUFH: below it resumability need not be offered
    if intent.limited and intent.content.present:
        _check_append_size(intent, limits)


def _check_append_size(intent: Create | Append, limits: Limits) -> None:
    """The limits of one RUFH append; its last one may be as small as it is."""
    size = intent.content.size
    if size is None:
        return
    if limits.max_append_size is not None and size > limits.max_append_size:
        raise UploadTooLarge(limits=limits)
    if not intent.complete and size < (limits.min_append_size or 0):
        raise UploadTooSmall(limits=limits)


def check_empty_body(intent: Create | Append) -> None:
    """Raise ChecksumMismatch if the body, which has no bytes, should have some; nothing has to be staged for it."""
    checksum = intent.checksum
    if checksum is not None and not matches(checksum, hasher(checksum.algorithm)):
        raise ChecksumMismatch


def room(info: UploadInfo, *, limited: bool = False) -> int | None:
    """How many bytes one body may bring; None where nothing bounds it. `limited`: limits of appends bind it."""
    largest = info.limits.max_append_size if limited else None
    end = info.limits.max_size if info.length is None else info.length
    left = None if end is None else max(0, end - info.offset)
    if largest is None or left is None:
        return left if largest is None else largest
    return min(largest, left)


def excess(info: UploadInfo, *, limited: bool = False) -> TusError:
    """What a body that brings more than its `room` is refused with."""
    if info.length is not None and room(info, limited=limited) == info.length - info.offset:
        return BodyTooLarge()
    return UploadTooLarge(limits=info.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendPlan:
    """How an append is to be carried out: `declare` is a length to record first."""

    declare: int | None = None


def plan_append(intent: Append, info: UploadInfo, now: datetime) -> AppendPlan:
    """Check everything that can be checked before a byte of the body is read."""
    check_available(info, now)
    if info.kind is Kind.FINAL:
        raise AppendForbidden
    if intent.offset != info.offset:
        raise OffsetMismatch(expected=info.offset, provided=intent.offset)
    if not intent.content.present:
        check_empty_body(intent)
    declare = _declared(intent, info)
    length = info.length if declare is None else declare
    size = intent.content.size or 0
    if length is not None and size > length - info.offset:
        raise BodyTooLarge
    if info.limits.max_size is not None and info.offset + size > info.limits.max_size:
        raise UploadTooLarge(limits=info.limits)
    if intent.complete is not None:
        _check_draft_append(intent, info)
    return AppendPlan(declare=declare)


def _check_draft_append(intent: Append, info: UploadInfo) -> None:
    """A completed upload takes only the empty last append, which asks for an answer that was lost again."""
    if not (is_complete(info) or is_finishing(info)):
        _check_append_size(intent, info.limits)
    elif not intent.complete:
        raise UploadCompleted


def is_stillborn(intent: Create, error: TusError) -> bool:
    """Whether a new upload whose first body failed so is removed again."""
    return isinstance(error, UploadTooLarge) or (isinstance(error, ChecksumMismatch) and intent.complete is None)


def is_invalidated(intent: Append, info: UploadInfo, error: TusError) -> bool:
    """Whether an append that failed so ends the upload. Never a completed one: a stray retry destroys nothing."""
    return intent.invalidates and info.state is State.OPEN and isinstance(error, BodyTooLarge)


def _declared(intent: Append, info: UploadInfo) -> int | None:
    if intent.length is None or intent.length == info.length:
        return None
    if info.length is not None:
        raise InconsistentLength
    if intent.length < info.offset:
        raise InvalidLength if intent.complete is None else InconsistentLength
    if info.limits.max_size is not None and intent.length > info.limits.max_size:
        raise UploadTooLarge(limits=info.limits)
    return intent.length


def plan_concat(parts: Sequence[UploadInfo], limits: Limits, now: datetime, *, may_wait: bool) -> int | None:
    """The length of a final upload; None while a part's is unknown.

    `may_wait` says whether unfinished parts are allowed (concatenation-unfinished). Every listed part counts,
    also one listed twice (SEC7), so the maximum holds for what is really stored.
    """
    for part in parts:
        check_available(part, now)
        if part.kind is not Kind.PARTIAL:
            raise InvalidConcat("only partial uploads can be concatenated")
        if not may_wait and not is_complete(part):
            raise UploadNotFinished
    lengths = [part.length for part in parts]
    known = sum(length for length in lengths if length is not None)
    if limits.max_size is not None and known > limits.max_size:
        raise UploadTooLarge
    return None if None in lengths else known


def final_id(intent: Create, principal: str | None, attempt: int) -> str:
    """The id of a final upload: the same request by the same principal names the same upload, so that a lost
    201 can be asked for again. As unguessable as the parts' ids it is made from."""
    told = [principal or "", intent.raw_metadata or "", str(attempt), *intent.parts]
    return hashlib.sha256("\0".join(told).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_same_final(intent: Create, info: UploadInfo, principal: str | None) -> bool:
    """Whether an existing upload is what this request asks for."""
    return (
        info.kind is Kind.FINAL
        and info.parts == intent.parts
        and info.raw_metadata == intent.raw_metadata
        and info.principal == principal
    )


_ONCE = frozenset(["pre_create", "post_create", "pre_finish", "post_finish", "post_terminate"])


def delivery_id(upload: UploadInfo, hook: str, request_id: str) -> str:
    """The same for every delivery of one event, also after a crash; different for every event of a hook that an
    upload has several of (`request_id` is what tells two requests apart)."""
    occasion = "" if hook in _ONCE else f"{request_id}\0{upload.offset}"
    return hashlib.sha256(f"{upload.id}\0{hook}\0{occasion}".encode()).hexdigest()[:32]
