"""Requests of the resumable-uploads draft into intents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from werkzeug.http import parse_options_header

from tuspy_server.errors import (
    InconsistentLength,
    InvalidContentType,
    InvalidField,
    InvalidOffset,
    MethodNotAllowed,
    NotSupported,
    UploadNotFound,
    UploadTooLarge,
)
from tuspy_server.models import Checksum, Request, StoredRequest
from tuspy_server.protocol import fields, structured
from tuspy_server.protocol.dialect import Call, allowed_methods
from tuspy_server.protocol.digests import parse_digest
from tuspy_server.protocol.download import clean_name
from tuspy_server.protocol.draft_profiles import Profile
from tuspy_server.protocol.intents import Append, Content, Create, Describe, Intent, Terminate
from tuspy_server.protocol.resolve import Collection
from tuspy_server.protocol.rules import RUFH

APPEND_TYPE = "application/partial-upload"
CREATING_METHODS = ("POST", "PUT", "PATCH")

_PROTOCOL_TYPES = (APPEND_TYPE, "application/offset+octet-stream")  # of a message, never of the file
_STATE_FIELDS = ("upload-offset", "upload-complete", "upload-incomplete", "upload-length")
_KEPT = ("accept", "content-disposition", "content-encoding", "content-language", "content-type", "prefer")
_EXTENDED_NAME = re.compile(r";[ \t]*(filename\*=[^;\s\"]+)", re.IGNORECASE)


def read(call: Call, profile: Profile, *, announce: bool) -> Intent:
    """What a request of this version wants. `announce` says whether it may be sent 104 answers."""
    if call.target is None:
        raise UploadNotFound
    is_creation = isinstance(call.target, Collection)
    allowed = (*CREATING_METHODS, "OPTIONS") if is_creation else allowed_methods(call)
    if call.method not in allowed:
        raise MethodNotAllowed(", ".join(allowed))
    if is_creation:
        return _read_create(call, profile, announce)
    if call.method == "PATCH":
        return _read_append(call, profile, announce)
    if profile.refuses_state_fields and any(call.request.header(name) is not None for name in _STATE_FIELDS):
        raise InvalidField("the fields of an append have no place here")
    return Terminate(id=call.upload_id) if call.method == "DELETE" else Describe(id=call.upload_id)


def _read_create(call: Call, profile: Profile, announce: bool) -> Create:
    request = call.request
    complete = profile.read_complete(request)
    if complete is None:
        raise InvalidField(f"missing or invalid {profile.completeness_field} header")
    content = call.content
    length = _read_length(request, profile, content, 0, complete)
    if length is None and not call.capabilities.has("creation-defer-length"):
        raise NotSupported
    return Create(
        protocol=RUFH,
        length=length,
        content=content,
        metadata=_read_metadata(request),
        raw_metadata=request.header("upload-metadata") or None,
        checksum=_read_checksum(call, profile),
        complete=complete,
        origin=_read_origin(call, profile),
        announce=announce,
        limited=profile.limits_creation,
    )


def _read_append(call: Call, profile: Profile, announce: bool) -> Append:
    request = call.request
    if profile.needs_media_type and fields.media_type(request) != APPEND_TYPE:
        raise InvalidContentType(accept=APPEND_TYPE)
    offset = structured.integer(request.header("upload-offset"))
    if offset is None:
        raise InvalidOffset
    complete = profile.read_complete(request)
    if complete is None:
        if not profile.missing_completes:
            raise InvalidField(f"missing or invalid {profile.completeness_field} header")
        complete = True
    content = call.content
    return Append(
        id=call.upload_id,
        protocol=RUFH,
        offset=offset,
        content=content,
        length=_read_length(request, profile, content, offset, complete),
        checksum=_read_checksum(call, profile),
        complete=complete,
        announce=announce,
        limited=True,
        invalidates=profile.invalidates,
    )


def _read_length(request: Request, profile: Profile, content: Content, offset: int, complete: bool) -> int | None:
    """The length that a request states or implies. Read in every version: a client that says it means it."""
    told = structured.integer(request.header("upload-length"))
    end = None if content.size is None else offset + content.size
    if max(told or 0, end or 0) > structured.LARGEST_INTEGER:
        raise UploadTooLarge
    implied = end if complete and profile.infers_length else None
    if told is not None and implied is not None and told != implied:
        raise InconsistentLength
    return implied if told is None else told


def _read_checksum(call: Call, profile: Profile) -> Checksum | None:
    if not profile.has_digests or not call.capabilities.has("checksum"):
        return None
    return parse_digest(call.request.header("content-digest"))


def _read_origin(call: Call, profile: Profile) -> StoredRequest:
    """The request as far as the final answer depends on it; no credentials, no field of the upload itself."""
    request = call.request
    kept = {name: value for name in _KEPT if (value := request.header(name)) is not None}
    if fields.media_type(request) in _PROTOCOL_TYPES:
        kept.pop("content-type", None)
    if profile.has_digests:
        parse_digest(request.header("repr-digest"))
        digests = ("repr-digest", "want-repr-digest")
        kept |= {name: value for name in digests if (value := request.header(name)) is not None}
    return StoredRequest(method=call.method, target=request.url, headers=tuple(kept.items()))


def _read_metadata(request: Request) -> Mapping[str, str]:
    """Upload-Metadata, and what Content-Disposition and Content-Type say where it is silent: a client that sends
    it names the file there, and often a Content-Type of its HTTP library's choice."""
    found = {}
    name = _file_name(request.header("content-disposition"))
    if name:
        found["filename"] = name
    media_type = (request.header("content-type") or "").strip(fields.OWS)
    if media_type and fields.media_type(request) not in _PROTOCOL_TYPES:
        found["filetype"] = media_type
    return MappingProxyType(found | dict(fields.metadata(request.header("upload-metadata"))))


def _file_name(disposition: str | None) -> str:
    """RFC 6266: filename* counts before filename, in whatever order; the type does not matter."""
    if disposition is None:
        return ""
    extended = _EXTENDED_NAME.search(disposition)
    _, options = parse_options_header(disposition if extended is None else f"x; {extended[1]}")
    return clean_name(_decoded(options.get("filename", "")))


def _decoded(text: str) -> str:
    """UTF-8 where a client wrote it into a field raw, as many do; servers hand fields over as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
