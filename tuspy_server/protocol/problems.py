"""Problem details (RFC 9457) for errors of the resumable-uploads draft."""

from __future__ import annotations

import json
from collections.abc import Collection
from http import HTTPStatus

from tuspy_server.errors import BodyTooLarge, InconsistentLength, OffsetMismatch, TusError, UploadCompleted
from tuspy_server.models import Headers
from tuspy_server.protocol.dialect import explanation

_REGISTRY = "https://iana.org/assignments/http-problem-types#"
MISMATCHING_OFFSET = f"{_REGISTRY}mismatching-upload-offset"
INCONSISTENT_LENGTH = f"{_REGISTRY}inconsistent-upload-length"
COMPLETED_UPLOAD = f"{_REGISTRY}completed-upload"


def type_of(error: TusError) -> str | None:
    """The draft's problem type for an error, where it has one."""
    if isinstance(error, OffsetMismatch):
        return MISMATCHING_OFFSET
    if isinstance(error, InconsistentLength | BodyTooLarge):
        return INCONSISTENT_LENGTH
    return COMPLETED_UPLOAD if isinstance(error, UploadCompleted) else None


def problem(error: TusError, status: int, types: Collection[str]) -> tuple[Headers, bytes]:
    """The body that explains an error. A type outside `types` is not used: the version does not know it."""
    told: dict[str, str | int] = {}
    found = type_of(error)
    if found in types:
        told["type"] = str(found)
        told["title"] = error.message
    else:
        told["title"] = _phrase(status)
        told["code"] = error.code
    told |= {"status": status, "detail": explanation(error)}
    if isinstance(error, OffsetMismatch):
        told["expected-offset"] = error.expected
        if error.provided is not None:
            told["provided-offset"] = error.provided
    return (("Content-Type", "application/problem+json"),), json.dumps(told).encode()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
