"""The JSON that hook receivers read and answer: tusd v2's schema, field by field, and what we add to it.

Pure: from a HookEvent to the request object, from an answer object to a HookResult or the error it asks for.
docs/hooks.md compares every field with tusd's; a test keeps that table true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from tuspy_server.errors import RejectUpload, StopUpload
from tuspy_server.hooks.events import HOOK_TYPES
from tuspy_server.models import Headers, HookEvent, HookResult, Kind, Request, Response, UploadInfo

DEFAULT_EVENTS = frozenset({"pre_create", "post_create", "post_receive", "post_terminate", "post_finish"})
"""What tusd enables when nothing is chosen."""

STORAGE_NAMES = {
    "type": "Type",
    "path": "Path",
    "info_path": "InfoPath",
    "bucket": "Bucket",
    "container": "Container",
    "key": "Key",
}

_OUR_STORAGE_NAMES = {theirs: ours for ours, theirs in STORAGE_NAMES.items()}
_SURROGATE = re.compile("[\ud800-\udfff]")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


class HookFailed(RuntimeError):
    """A hook receiver could not be asked, or its answer makes no sense. The text is for the operator's log."""


class RejectTermination(RejectUpload):
    """Raised by a `pre_terminate` hook to keep the upload; code and text are tusd's."""

    code = "ERR_UPLOAD_TERMINATION_REJECTED"
    message = "the upload's termination was rejected by the server"


def wire_name(hook_type: str) -> str:
    """tusd's name of a hook: `pre-create` for `pre_create`."""
    return hook_type.replace("_", "-")


def parse_events(text: str | Iterable[str]) -> frozenset[str]:
    """Our hook names from a comma-separated text or single names, tusd's spelling or ours.

    Blanks are trimmed and an empty text enables nothing. Raises ValueError that names an unknown one.
    """
    names = text.split(",") if isinstance(text, str) else text
    found = frozenset(name.strip().replace("-", "_") for name in names if name.strip())
    unknown = sorted(found.difference(HOOK_TYPES))
    if unknown:
        known = ", ".join(wire_name(name) for name in HOOK_TYPES)
        raise ValueError(f"unknown hook event {wire_name(unknown[0])!r}: the events are {known}")
    return found


def encode(event: HookEvent, storage: Mapping[str, str] | None = None) -> dict[str, object]:
    """The request object for one event. `storage` replaces what the record says about where the bytes lie."""
    return {
        "Type": wire_name(event.type),
        "DeliveryID": event.delivery_id,
        "Event": {
            "Upload": _upload(event, event.upload.storage if storage is None else storage),
            "HTTPRequest": _request(event.request),
        },
    }


def decode(event: HookEvent, answer: object) -> HookResult | None:
    """What an answer object asks for; None stands for an empty answer.

    Raises RejectUpload, RejectTermination or StopUpload where the answer says so, and HookFailed where it
    breaks the schema. Keys match in any case, unknown ones and those of other hooks are ignored, as in tusd.
    """
    if answer is None:
        return None
    fields = _Fields(answer, "answer")
    response = _HTTPResponse(fields.object("HTTPResponse"))
    if event.type == "pre_terminate" and fields.flag("RejectTermination"):
        raise response.into(RejectTermination, 400)
    if event.type == "pre_access" and fields.flag("RejectAccess"):
        raise response.into(RejectUpload, 403)
    if event.type in ("pre_access", "pre_create", "pre_finish") and fields.flag("RejectUpload"):
        raise response.into(RejectUpload, 403 if event.type == "pre_access" else 400)
    if event.type == "post_receive" and fields.flag("StopUpload"):
        raise StopUpload(response.for_stop(), terminate=True)
    if event.type not in ("pre_create", "pre_finish", "pre_terminate"):
        return None
    result = _changes(event, fields.object("ChangeFileInfo"), response.merged_into(_usual_status(event)))
    return None if result == HookResult() else result


def _upload(event: HookEvent, storage: Mapping[str, str]) -> dict[str, object]:
    info = event.upload
    described = {STORAGE_NAMES.get(key, key): text(value) for key, value in storage.items()}
    return {
        # tusd chooses an id after pre-create; ours may still change there, so nobody should rely on it.
        "ID": "" if event.type == "pre_create" else info.id,
        "Size": info.length or 0,
        "SizeIsDeferred": info.length is None,
        "Offset": info.offset,
        "MetaData": _texts(info.metadata),
        "IsPartial": info.kind is Kind.PARTIAL,
        "IsFinal": info.kind is Kind.FINAL,
        "PartialUploads": list(info.parts) or None,
        "Storage": dict(sorted(described.items())) or None,
        "RawMetaData": info.raw_metadata,
        "ServerMetaData": _texts(info.server_metadata),
        "Principal": None if info.principal is None else text(info.principal),
        "ExpiresAt": _moment(info),
    }


def _request(request: Request) -> dict[str, object]:
    return {
        "Method": request.method,
        "URI": text(_ORIGIN.sub("", request.url, count=1) or "/"),
        "RemoteAddr": _remote_address(request),
        "Header": _header(request),
        "Client": request.client,
    }


def _header(request: Request) -> dict[str, list[str]]:
    header: dict[str, list[str]] = {}
    for name, value in request.headers:
        header.setdefault(canonical(name), []).append(field_text(value))
    if "Host" not in header and request.host:
        header["Host"] = [request.host]
    return dict(sorted(header.items()))


def canonical(name: str) -> str:
    """A field name as Go writes it: `X-Http-Method-Override`."""
    if _TOKEN.fullmatch(name) is None:
        return name
    return "-".join(word.capitalize() for word in name.split("-"))


def text(value: str) -> str:
    """A text that is valid Unicode: each byte that was not UTF-8 becomes U+FFFD, as in tusd's JSON."""
    return _SURROGATE.sub("\ufffd", value)


def field_text(value: str) -> str:
    """A field value, which servers hand over as Latin-1, read as UTF-8."""
    try:
        return text(value.encode("latin-1").decode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return text(value)


def _remote_address(request: Request) -> str:
    """`host:port` of the peer, as in Go; port 0 where the server does not tell, empty on a Unix socket."""
    host = request.peer or request.client
    if not host:
        return ""
    return f"[{host}]:{_port(request.native)}" if ":" in host else f"{host}:{_port(request.native)}"


def _port(native: object) -> int:
    if not isinstance(native, Mapping):
        return 0
    match native.get("client"), native.get("REMOTE_PORT"):
        case (_, int(port)), _:
            return port
        case _, str(port) if port.isascii() and port.isdigit():
            return int(port)
        case _, int(port):
            return port
    return 0


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {text(key): text(value) for key, value in sorted(values.items())}


def _moment(info: UploadInfo) -> str | None:
    moment: datetime | None = info.expires
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _usual_status(event: HookEvent) -> int:
    """The status an answer keeps whose hook sets none."""
    request = event.request
    overridden = request.header("x-http-method-override") if request.method == "POST" else None
    method = (overridden or request.method).strip().upper()
    if event.type == "pre_create" or (event.type == "pre_finish" and method == "POST"):
        return 201
    return 200 if method == "HEAD" else 204


def _changes(event: HookEvent, asked: _Fields, response: Response | None) -> HookResult:
    if event.type != "pre_create":
        return HookResult(response=response)
    storage = asked.texts("Storage")
    return HookResult(
        id=asked.string("ID") or None,
        metadata=asked.texts("MetaData"),
        server_metadata=asked.texts("ServerMetaData"),
        storage=None if storage is None else {_OUR_STORAGE_NAMES.get(key, key): storage[key] for key in storage},
        response=response,
    )


class _Fields:
    """One object of an answer, read by Go's rules: keys in any case, the last one wins, null is unset."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise HookFailed(f"the hook's {where} is not a JSON object")
        self._values = {str(key).lower(): entry for key, entry in value.items()}
        self._where = where

    def _get(self, name: str, kind: type, what: str) -> object:
        value = self._values.get(name.lower())
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise HookFailed(f"{name} in the hook's {self._where} is not {what}")
        return value

    def flag(self, name: str) -> bool:
        return bool(self._get(name, bool, "true or false"))

    def string(self, name: str) -> str:
        return text(str(self._get(name, str, "a string") or ""))

    def integer(self, name: str) -> int:
        value = self._get(name, int, "an integer")
        return value if isinstance(value, int) else 0

    def object(self, name: str) -> _Fields:
        return _Fields(self._get(name, Mapping, "an object") or {}, name)

    def texts(self, name: str) -> dict[str, str] | None:
        value = self._get(name, Mapping, "an object")
        if not isinstance(value, Mapping):
            return None
        if not all(isinstance(entry, str) or entry is None for entry in value.values()):
            raise HookFailed(f"{name} in the hook's {self._where} has a value that is not a string")
        return {text(str(key)): text(entry or "") for key, entry in value.items()}


class _HTTPResponse:
    """tusd's HTTPResponse: status 0, an empty body and no headers mean unset, each for itself."""

    def __init__(self, fields: _Fields) -> None:
        self.status = fields.integer("StatusCode")
        self.body = fields.string("Body").encode()
        self.headers: Headers = tuple((fields.texts("Header") or {}).items())
        self._checked(self.status or 200)

    def _checked(self, status: int, headers: Headers | None = None, body: bytes | None = None) -> Response:
        try:
            return Response(
                status=status,
                headers=self.headers if headers is None else headers,
                body=self.body if body is None else body,
            )
        except ValueError as exc:
            raise HookFailed(f"HTTPResponse in the hook's answer: {exc}") from exc

    def into(self, error: type[RejectUpload], status: int) -> RejectUpload:
        return error(status=self.status or status, headers=self.headers, body=self.body or None)

    def for_stop(self) -> Response | None:
        """None leaves the whole answer to StopUpload; a missing body is filled with its usual text."""
        if not (self.status or self.body or self.headers):
            return None
        if self.body:
            return self._checked(self.status or StopUpload.status)
        usual = f"{StopUpload.code}: {StopUpload.message}\n".encode()
        named = {name.lower() for name, _ in self.headers}
        plain: Headers = () if "content-type" in named else (("Content-Type", "text/plain; charset=utf-8"),)
        return self._checked(self.status or StopUpload.status, (*plain, *self.headers), usual)

    def merged_into(self, usual_status: int) -> Response | None:
        if not (self.status or self.body or self.headers):
            return None
        if not self.status and self.body and usual_status == 204:
            return self._checked(200)  # a 204 carries no body, and the hook wants its body sent
        return self._checked(self.status or usual_status)
