"""Upload records as lines of text: how one looks, and which line of a file counts."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from tuspy_server.models import EMPTY, Headers, Kind, Limits, State, StoredRequest, StoredResponse, UploadInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_LIMITS = Limits()
_TEXTS = ("raw_metadata", "raw_concat", "principal")
_MAPPINGS = ("metadata", "server_metadata")
_LISTS = ("parts", "finals", "undelivered")
_LIMITS = ("max_size", "min_size", "max_append_size", "min_append_size", "max_age", "sliding")
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Line:
    """One state of a record: `crc sequence pin body`, the checksum over all that follows it.

    `pin` is the only offset up to which the data file counts while bytes are staged behind it, else None.
    `end` is where the line ends in its file.
    """

    sequence: int
    pin: int | None
    body: bytes
    end: int

    @property
    def version(self) -> str:
        """The part of the revision that a pin does not change."""
        return f"{self.sequence}-{crc32(self.body):08x}"

    @property
    def revision(self) -> str:
        return f"{self.version}-{self.end}"


def version_of(revision: str) -> str:
    """The part of a revision that `update` compares."""
    return revision.rpartition("-")[0]


def end_of(revision: str) -> int:
    """The size of the record file that a revision was read from; -1 for one of another origin."""
    size = revision.rpartition("-")[2]
    return int(size) if size.isascii() and size.isdecimal() else -1


def line_bytes(sequence: int, pin: int | None, body: bytes) -> bytes:
    rest = b"%d %s %s" % (sequence, b"-" if pin is None else b"%d" % pin, body)
    return b"%08x %s\n" % (crc32(rest), rest)


def last_line(data: bytes) -> Line | None:
    """The last whole line whose checksum holds; a torn or lost one behind it does not count."""
    end = data.rfind(b"\n")
    while end >= 0:
        start = data.rfind(b"\n", 0, end) + 1
        if (line := _parse(data[start:end], end + 1)) is not None:
            return line
        end = start - 1
    return None


def _parse(text: bytes, end: int) -> Line | None:
    try:
        checksum, rest = text.split(b" ", 1)
        if int(checksum, 16) != crc32(rest):
            return None
        sequence, pin, body = rest.split(b" ", 2)
        return Line(int(sequence), None if pin == b"-" else int(pin), body, end)
    except ValueError:
        return None


def encode(info: UploadInfo, storage: Mapping[str, str] | None = None) -> bytes:
    """A record without what the store knows better: offset and revision. Defaults are left out.

    `storage` takes the place of the one in `info`.
    """
    fields: dict[str, object] = {"id": info.id, "created": _microseconds(info.created)}
    if info.length is not None:
        fields["length"] = info.length
    if info.expires is not None:
        fields["expires"] = _microseconds(info.expires)
    if info.state is not State.OPEN:
        fields["state"] = info.state.value
    if info.kind is not Kind.REGULAR:
        fields["kind"] = info.kind.value
    if info.protocol != "tus/1.0.0":
        fields["protocol"] = info.protocol
    for name in _TEXTS:
        if (text := getattr(info, name)) is not None:
            fields[name] = text
    for name in _MAPPINGS:
        if mapping := getattr(info, name):
            fields[name] = dict(mapping)
    if storage := storage if storage is not None else info.storage:
        fields["storage"] = dict(storage)
    for name in _LISTS:
        if items := getattr(info, name):
            fields[name] = items
    if info.limits != _NO_LIMITS:
        fields["limits"] = {name: getattr(info.limits, name) for name in _LIMITS}
    if info.origin is not None:
        fields["origin"] = [info.origin.method, info.origin.target, info.origin.headers]
    if info.response is not None:
        body = b64encode(info.response.body).decode("ascii")
        fields["response"] = [info.response.status, info.response.headers, body]
    return _encode(fields).encode("ascii")


def decode(body: bytes) -> dict[str, Any]:
    """The fields of a record, not yet an UploadInfo. Raises ValueError."""
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("a record is an object")
    return fields


def build(fields: Mapping[str, Any], *, offset: int, revision: str, expires: datetime | None) -> UploadInfo:
    """The record as a value. Raises ValueError, KeyError, TypeError for fields that never came from `encode`."""
    get = fields.get
    return UploadInfo(
        id=fields["id"],
        length=get("length"),
        offset=offset,
        state=State(get("state", "open")),
        kind=Kind(get("kind", "regular")),
        metadata=get("metadata", EMPTY),
        server_metadata=get("server_metadata", EMPTY),
        raw_metadata=get("raw_metadata"),
        raw_concat=get("raw_concat"),
        parts=tuple(get("parts", ())),
        finals=tuple(get("finals", ())),
        protocol=get("protocol", "tus/1.0.0"),
        created=moment(fields["created"]),
        expires=expires,
        limits=Limits(**fields["limits"]) if "limits" in fields else _NO_LIMITS,
        principal=get("principal"),
        storage=get("storage", EMPTY),
        origin=_origin(get("origin")),
        response=_response(get("response")),
        undelivered=tuple(get("undelivered", ())),
        revision=revision,
    )


def moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _microseconds(when: datetime) -> int:
    return (when - _EPOCH) // _MICROSECOND


def _headers(pairs: list[list[str]]) -> Headers:
    return tuple((name, value) for name, value in pairs)


def _origin(stored: list[Any] | None) -> StoredRequest | None:
    if stored is None:
        return None
    return StoredRequest(method=stored[0], target=stored[1], headers=_headers(stored[2]))


def _response(stored: list[Any] | None) -> StoredResponse | None:
    if stored is None:
        return None
    return StoredResponse(status=stored[0], headers=_headers(stored[1]), body=b64decode(stored[2]))
