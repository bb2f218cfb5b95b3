"""tus 1.0.0: requests into intents, outcomes into answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tuspy_server.errors import (
    AppendForbidden,
    InvalidConcat,
    InvalidContentType,
    InvalidDeferLength,
    InvalidField,
    InvalidLength,
    InvalidOffset,
    MethodNotAllowed,
    NotSupported,
    TusError,
    UnsupportedVersion,
    UploadLocked,
    UploadNotFound,
)
from tuspy_server.models import Checksum, Kind, Request, Response, StoredResponse, UploadInfo
from tuspy_server.protocol import fields
from tuspy_server.protocol.checksums import ALGORITHMS, parse_checksum
from tuspy_server.protocol.dialect import Call, Refusal, allowed_methods, explanation, plain_text
from tuspy_server.protocol.intents import Append, Create, Describe, Intent, Terminate
from tuspy_server.protocol.merge import merge
from tuspy_server.protocol.resolve import Collection, id_from_url
from tuspy_server.protocol.rules import is_complete, is_unassembled

VERSION = "1.0.0"
PROTOCOL = "tus/1.0.0"
APPEND_TYPE = "application/offset+octet-stream"
MOST_PARTS = 10_000  # SEC11: a header of that many URLs is longer than any server accepts

_NO_STORE = ("Cache-Control", "no-store")


@dataclass(frozen=True, slots=True)
class Tus1:
    """The tus 1.0.0 dialect. Stateless."""

    protocol: str = PROTOCOL
    draft_version: int | None = None

    def read(self, call: Call) -> Intent:
        if call.request.header("tus-resumable") != VERSION:
            raise UnsupportedVersion
        if call.target is None:
            raise UploadNotFound
        if call.method not in allowed_methods(call):
            raise MethodNotAllowed(", ".join(allowed_methods(call)))
        if isinstance(call.target, Collection):
            return _read_create(call)
        if call.method == "PATCH":
            return _read_append(call)
        return Terminate(id=call.upload_id) if call.method == "DELETE" else Describe(id=call.upload_id)

    def created(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Response:
        headers = [*_base(info), ("Location", location)]
        if not is_unassembled(info):
            headers.append(("Upload-Offset", str(info.offset)))
        return Response(status=201, headers=tuple(headers))

    def appended(self, call: Call, info: UploadInfo, location: str, now: datetime) -> Response:
        return Response(status=204, headers=(*_base(info), ("Upload-Offset", str(info.offset))))

    def completed(
        self, call: Call, info: UploadInfo, response: StoredResponse | None, location: str, now: datetime
    ) -> Response:
        ours = self.created if isinstance(call.target, Collection) else self.appended
        return merge(ours(call, info, location, now), response)

    def interrupted(self, call: Call, info: UploadInfo, failure: TusError, location: str, now: datetime) -> Response:
        return self.created(call, info, location, now)

    def announced(self, call: Call, info: UploadInfo, location: str, now: datetime) -> None:
        return None

    def progressed(self, call: Call, intent: Create | Append, offset: int) -> None:
        return None

    def described(self, call: Call, info: UploadInfo, now: datetime) -> Response:
        headers = [*_base(info)]
        if not is_unassembled(info):
            headers.append(("Upload-Offset", str(info.offset)))
        if info.length is not None:
            headers.append(("Upload-Length", str(info.length)))
        elif info.kind is not Kind.FINAL:
            headers.append(("Upload-Defer-Length", "1"))
        if is_complete(info):
            headers.append(("Content-Length", str(info.length)))
        if info.raw_metadata:
            headers.append(("Upload-Metadata", info.raw_metadata))
        if info.raw_concat:
            headers.append(("Upload-Concat", info.raw_concat))
        return Response(status=200, headers=tuple(headers))

    def terminated(self, call: Call) -> Response:
        return Response(status=204, headers=(("Tus-Resumable", VERSION), _NO_STORE))

    def refused(self, call: Call, refusal: Refusal, now: datetime) -> Response:
        error = refusal.error
        if call.method == "HEAD" and error.status >= 500:
            # tus-js-client starts an upload from zero after any HEAD answer but 2xx and 423.
            error = UploadLocked(explanation(error))
        headers, body = plain_text(error)
        headers = (*_base(refusal.upload), *headers, *error.headers)
        return Response(status=error.status, headers=headers, body=body)


def discovery(call: Call) -> Mapping[str, str]:
    """The tus fields of an OPTIONS answer: exactly what the composed store can do."""
    capabilities = call.capabilities
    found = {"Tus-Resumable": VERSION, "Tus-Version": VERSION}
    if capabilities.extensions:
        found["Tus-Extension"] = ",".join(capabilities.extensions)
    if capabilities.limits.max_size is not None:
        found["Tus-Max-Size"] = str(capabilities.limits.max_size)
    if capabilities.has("checksum"):
        found["Tus-Checksum-Algorithm"] = ",".join(ALGORITHMS)
    return found


def _base(info: UploadInfo | None) -> tuple[tuple[str, str], ...]:
    headers = (("Tus-Resumable", VERSION), _NO_STORE)
    if info is not None and info.expires is not None and not is_complete(info):
        return (*headers, ("Upload-Expires", fields.imf_date(info.expires)))
    return headers


def _read_create(call: Call) -> Create:
    request = call.request
    content = call.content
    kind, raw_concat, parts = _read_concat(call)
    if content.present and fields.media_type(request) != APPEND_TYPE:
        raise InvalidContentType
    if kind is Kind.FINAL:
        if content.present:
            raise AppendForbidden
        if request.header("upload-length") or request.header("upload-defer-length"):
            raise InvalidLength("a final upload takes its length from its parts")
        length = None
    else:
        length = _read_length(call)
    raw_metadata = request.header("upload-metadata")
    return Create(
        protocol=PROTOCOL,
        length=length,
        content=content,
        metadata=fields.metadata(raw_metadata),
        raw_metadata=raw_metadata or None,
        kind=kind,
        raw_concat=raw_concat,
        parts=parts,
        checksum=_read_checksum(call),
    )


def _read_append(call: Call) -> Append:
    request = call.request
    if fields.media_type(request) != APPEND_TYPE:
        raise InvalidContentType(accept=APPEND_TYPE)
    offset = request.header("upload-offset")
    if offset is None:
        raise InvalidOffset
    length = request.header("upload-length")
    if length is not None and not call.capabilities.has("creation-defer-length"):
        raise NotSupported
    content = call.content
    return Append(
        id=call.upload_id,
        protocol=PROTOCOL,
        offset=fields.integer(offset, InvalidOffset),
        content=content,
        length=None if length is None else fields.integer(length, InvalidLength),
        checksum=_read_checksum(call),
    )


def _read_length(call: Call) -> int | None:
    length, defer = call.request.header("upload-length"), call.request.header("upload-defer-length")
    if defer is not None:
        if defer.strip(fields.OWS) != "1":
            raise InvalidDeferLength
        if length is not None:
            raise InvalidField("Upload-Length and Upload-Defer-Length exclude each other")
        if not call.capabilities.has("creation-defer-length"):
            raise NotSupported
        return None
    if length is None:
        raise InvalidLength
    return fields.integer(length, InvalidLength)


def _read_checksum(call: Call) -> Checksum | None:
    value = call.request.header("upload-checksum")
    return parse_checksum(value) if call.capabilities.has("checksum") else None


def _read_concat(call: Call) -> tuple[Kind, str | None, tuple[str, ...]]:
    raw = call.request.header("upload-concat")
    if raw is None:
        return Kind.REGULAR, None, ()
    if not call.capabilities.has("concatenation"):
        raise InvalidConcat("Upload-Concat is not supported by this server")
    if raw.strip(fields.OWS) == "partial":
        return Kind.PARTIAL, raw, ()
    scheme, semicolon, urls = raw.partition(";")
    listed = urls.split(" ")
    # An empty entry is a part whose URL the client did not know: without it the final would be cut, and seem complete.
    if scheme.strip(fields.OWS) != "final" or not semicolon or not all(listed) or len(listed) > MOST_PARTS:
        raise InvalidConcat
    return Kind.FINAL, raw, tuple(_part_id(url, call) for url in listed)


def _part_id(url: str, call: Call) -> str:
    found = id_from_url(url, call.request, call.config)
    if found is None:
        raise UploadNotFound  # a foreign part looks like an unknown one (SEC11)
    return found


def wants(request: Request) -> bool:
    """Whether a request speaks tus: the field alone decides, whatever its value."""
    return request.header("tus-resumable") is not None
