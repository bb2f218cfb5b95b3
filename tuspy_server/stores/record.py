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
class Pin:
    """Up to where the data file counts.

    Without `boot` always: what is behind `offset` is staged. With it only once the machine was started again:
    so much was durable, the rest was in the memory of the boot that is named here.
    """

    offset: int
    boot: str = ""

    def counted(self, size: int, boot: str) -> int:
        """How many bytes of a data file of `size` count now, in this boot."""
        return size if self.boot and self.boot == boot else min(size, self.offset)


@dataclass(frozen=True, slots=True)
class Line:
    """One state of a record: `crc sequence pin body`, the checksum over all that follows it.

    `sequence` grows by one with every version. The first is the time of creation, so that the versions of an id
    that is used again differ from its earlier ones. Without a pin the whole data file counts. `end` is where the
    line ends in its file, which had `file_size` when it was read.
    """

    sequence: int
    pin: Pin | None
    body: bytes
    end: int
    file_size: int

    @property
    def revision(self) -> str:
        return f"{self.sequence}-{'' if self.pin else self.end}"

    def is_version(self, revision: str) -> bool:
        """Whether `revision` is of this version of the record, with whatever pin."""
        return revision.partition("-")[0] == str(self.sequence)


def ends_at(revision: str, size: int) -> bool:
    """Whether `revision` was read without a pin, and nothing was written since to a record file of this size."""
    return revision.partition("-")[2] == str(size)


def line_bytes(sequence: int, pin: Pin | None, body: bytes) -> bytes:
    mark = b"-" if pin is None else b"%d@%s" % (pin.offset, pin.boot.encode("ascii"))
    rest = b"%d %s %s" % (sequence, mark, body)
    return b"%08x %s\n" % (crc32(rest), rest)


def last_line(data: bytes) -> Line | None:
    """The last whole line whose checksum holds; a torn or lost one behind it does not count."""
    end = data.rfind(b"\n")
    while end >= 0:
        start = data.rfind(b"\n", 0, end) + 1
        if (line := _parse(data[start:end], end + 1, len(data))) is not None:
            return line
        end = start - 1
    return None


def _parse(text: bytes, end: int, file_size: int) -> Line | None:
    try:
        checksum, rest = text.split(b" ", 1)
        if int(checksum, 16) != crc32(rest):
            return None
        sequence, mark, body = rest.split(b" ", 2)
        return Line(int(sequence), _pin(mark), body, end, file_size)
    except ValueError:
        return None


def _pin(mark: bytes) -> Pin | None:
    if mark == b"-":
        return None
    offset, _, boot = mark.decode("ascii").partition("@")
    return Pin(int(offset), boot)


def encode(info: UploadInfo, storage: Mapping[str, str] | None = None) -> bytes:
    """A record without what the store knows better: offset and revision. Defaults are left out.

    `storage` takes the place of the one in `info`.
    """
    found: dict[str, object] = {"id": info.id, "created": _microseconds(info.created)}
    if info.length is not None:
        found["length"] = info.length
    if info.expires is not None:
        found["expires"] = _microseconds(info.expires)
    if info.state is not State.OPEN:
        found["state"] = info.state.value
    if info.kind is not Kind.REGULAR:
        found["kind"] = info.kind.value
    if info.protocol != "tus/1.0.0":
        found["protocol"] = info.protocol
    values = vars(info)
    for name in _TEXTS:
        if (text := values[name]) is not None:
            found[name] = text
    for name in _MAPPINGS:
        if mapping := values[name]:
            found[name] = dict(mapping)
    if storage := storage if storage is not None else info.storage:
        found["storage"] = dict(storage)
    for name in _LISTS:
        if items := values[name]:
            found[name] = items
    if info.limits != _NO_LIMITS:
        found["limits"] = {name: getattr(info.limits, name) for name in _LIMITS}
    if info.origin is not None:
        found["origin"] = [info.origin.method, info.origin.target, info.origin.headers]
    if info.response is not None:
        body = b64encode(info.response.body).decode("ascii")
        found["response"] = [info.response.status, info.response.headers, body]
    return _encode(found).encode("ascii")


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
