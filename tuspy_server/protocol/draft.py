"""Resumable uploads as the IETF drafts them (RUFH), interop versions 3 to 9: the dialect and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tuspy_server.errors import (
    BodyTooLarge,
    ChecksumMismatch,
    OffsetMismatch,
    RejectUpload,
    StopUpload,
    TusError,
    UploadFailed,
    UploadGone,
    UploadLocked,
    UploadNotFound,
    UploadTooLarge,
    UploadTooSmall,
)
from tuspy_server.models import Headers, Limits, Response, State, StoredResponse, UploadInfo
from tuspy_server.protocol import draft_requests, structured
from tuspy_server.protocol.dialect import Call, Refusal, explanation, plain_text
from tuspy_server.protocol.draft_profiles import NEWEST, PROFILES, VERSION_FIELD, Profile
from tuspy_server.protocol.intents import Append, Create, Intent
from tuspy_server.protocol.merge import merge
from tuspy_server.protocol.problems import problem
from tuspy_server.protocol.resolve import Collection
from tuspy_server.protocol.rules import RUFH, is_complete

_NO_STORE = ("Cache-Control", "no-store")
_OURS = frozenset(
    f"upload-{name}" for name in ("complete", "incomplete", "offset", "length", "limit", "draft-interop-version")
)


@dataclass(frozen=True, slots=True)
class Draft:
    """One interop version. `is_named` says whether the request named it: only then it may be sent a 104."""

    profile: Profile = NEWEST
    is_named: bool = True
    protocol: str = RUFH

    @property
    def draft_version(self) -> int | None:
        return self.profile.version

    def read(self, call: Call) -> Intent:
        return draft_requests.read(call, self.profile, announce=self._may_inform(call))

    def created(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Response:
        return Response(status=201, headers=(*self._state(info, now, complete=False), ("Location", location)))

    def appended(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Response:
        return Response(status=self.profile.more_status, headers=self._state(info, now, complete=False))

    def completed(
        self, call: Call, info: UploadInfo, response: StoredResponse | None, location: str, now: datetime
    ) -> Response:
        """The app's answer, or 201. It names the upload unless the app answers for a resource of its own."""
        headers = self._state(info, now, complete=True)
        if response is None or response.status == 201 or self.profile.names_upload:
            headers = (*headers, ("Location", location))
        return merge(Response(status=201, headers=headers), _without_ours(response))

    def interrupted(self, call: Call, info: UploadInfo, failure: TusError, location: str, now: datetime) -> Response:
        # Never 2xx: a client that sent all it has would take it for the final answer.
        return self.refused(call, Refusal(error=failure, upload=info, location=location), now)

    def described(self, call: Call, info: UploadInfo, now: datetime) -> Response:
        return Response(status=204, headers=self._state(info, now, complete=is_complete(info)))

    def terminated(self, call: Call) -> Response:
        return Response(status=204, headers=self._base())

    def refused(self, call: Call, refusal: Refusal, now: datetime) -> Response:
        error = refusal.error
        if isinstance(error, UploadFailed) and error.response is not None and call.method != "DELETE":
            ours = Response(status=error.status, headers=(*self._base(), self.profile.write_complete(True)))
            return merge(ours, _without_ours(error.response))
        if call.method == "HEAD" and error.status >= 500:
            error = UploadLocked(explanation(error))  # the upload is there: clients give it up after a 5xx on HEAD
        if isinstance(call.target, Collection) and self.profile.read_complete(call.request) is None:
            headers, body = plain_text(error)
            return Response(status=error.status, headers=(*headers, *error.headers), body=body)
        status = self._status(error)
        headers, body = self._explanation(error, status)
        state = self._refused_state(call, replace(refusal, error=error), now)
        return Response(status=status, headers=(*self._base(), *state, *error.headers, *headers), body=body)

    def announced(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Headers | None:
        headers = (("Location", location), *self._limit_of(info, now))
        return self._interim(headers) if self._may_inform(call) else None

    def progressed(self, call: Call, intent: Create | Append, offset: int) -> Headers | None:
        """Not with a digest to verify: the bytes do not count before the last of them has arrived."""
        if not self._may_inform(call) or not self.profile.has_progress or intent.checksum is not None:
            return None
        return self._interim((("Upload-Offset", structured.write(offset)),))

    def _may_inform(self, call: Call) -> bool:
        is_old = call.request.http_version in ("0.9", "1.0")  # RFC 9110, 15.2: MUST NOT
        return self.is_named and call.config.interim_responses and not is_old

    def _interim(self, headers: Headers) -> Headers | None:
        if not all(value.isascii() and value.isprintable() for _, value in headers):
            return None
        return ((VERSION_FIELD, str(self.profile.version)), *headers)

    def _base(self) -> Headers:
        version = ((VERSION_FIELD, str(self.profile.version)),) if self.is_named else ()
        return (*version, _NO_STORE)

    def _state(self, info: UploadInfo, now: datetime, *, complete: bool) -> Headers:
        """A superset of what the versions ask for: none forbids what another wants."""
        return (
            *self._base(),
            self.profile.write_complete(complete),
            *_progress_of(info),
            *self._limit_of(info, now),
        )

    def _limit_of(self, info: UploadInfo, now: datetime) -> Headers:
        member = self.profile.lifetime_member
        if member is None:
            return ()
        left = None if info.expires is None or is_complete(info) else (info.expires - now).total_seconds()
        return (("Upload-Limit", write_limits(info.limits, left, member)),)

    def _refused_state(self, call: Call, refusal: Refusal, now: datetime) -> Headers:
        error, info = refusal.error, refusal.upload
        found: list[tuple[str, str]] = []
        if call.method not in ("HEAD", "GET", "DELETE"):
            found.append(self.profile.write_complete(_is_final(refusal)))
        if isinstance(error, OffsetMismatch):
            found.append(("Upload-Offset", structured.write(error.expected)))
        elif info is not None and not isinstance(error, UploadNotFound):
            found += _progress_of(info)
        limits = error.limits if isinstance(error, UploadTooLarge | UploadTooSmall) else None
        if limits is not None and self.profile.lifetime_member is not None:
            left = limits.max_age if info is None or info.expires is None else (info.expires - now).total_seconds()
            found.append(("Upload-Limit", write_limits(limits, left, self.profile.lifetime_member)))
        if refusal.location is not None:
            found.append(("Location", refusal.location))
        return tuple(found)

    def _status(self, error: TusError) -> int:
        if isinstance(error, ChecksumMismatch | BodyTooLarge):
            return 400  # 460 is tus' own; content beyond the length is an inconsistent length here
        if isinstance(error, UploadGone) and self.profile.gone_is_404:
            return UploadNotFound.status
        return error.status

    def _explanation(self, error: TusError, status: int) -> tuple[Headers, bytes]:
        if isinstance(error, RejectUpload | StopUpload) or not self.profile.problem_types:
            return plain_text(error)
        return problem(error, status, self.profile.problem_types)


def write_limits(limits: Limits, seconds_left: float | None, lifetime_member: str) -> str:
    """The value of Upload-Limit, never empty: `min-size=0` says that there is no limit."""
    told = {
        "max-size": limits.max_size,
        "min-size": limits.min_size,
        "max-append-size": limits.max_append_size,
        "min-append-size": limits.min_append_size,
        lifetime_member: None if seconds_left is None else max(0, int(seconds_left)),
    }
    members = {key: min(value, structured.LARGEST_INTEGER) for key, value in told.items() if value is not None}
    return structured.write(members or {"min-size": 0})


def discovery(call: Call) -> Mapping[str, str]:
    """The draft's fields of an OPTIONS answer; `call.capabilities.limits` are what a creation would get."""
    limits = call.capabilities.limits
    version = structured.integer(call.request.header(VERSION_FIELD.lower()))
    member = PROFILES.get(version or 0, NEWEST).lifetime_member or "max-age"
    return {
        "Accept-Patch": ", ".join((draft_requests.APPEND_TYPE, "application/offset+octet-stream")),
        "Upload-Limit": write_limits(limits, limits.max_age, member),
    }


def _progress_of(info: UploadInfo) -> Headers:
    length = () if info.length is None else (("Upload-Length", str(info.length)),)
    return (("Upload-Offset", str(info.offset)), *length)


def _is_final(refusal: Refusal) -> bool:
    """Whether a refusal is the answer to the whole upload, so that there is nothing to resume."""
    info = refusal.upload
    return isinstance(refusal.error, RejectUpload) and info is not None and info.state is State.FAILED


def _without_ours(response: StoredResponse | None) -> StoredResponse | None:
    """An app's answer without fields that only we can know."""
    if response is None:
        return None
    return replace(response, headers=tuple(item for item in response.headers if item[0].lower() not in _OURS))
