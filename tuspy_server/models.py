"""The values that flow through the package: frozen dataclasses, no behaviour beyond derived facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType

EMPTY: Mapping[str, str] = MappingProxyType({})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def empty() -> Mapping[str, str]:
    """The default of mappings (3.11 takes no unhashable default)."""
    return EMPTY


Headers = tuple[tuple[str, str], ...]


class State(Enum):
    """Where an upload stands in its life."""

    OPEN = "open"
    FINISHING = "finishing"
    COMPLETE = "complete"
    FAILED = "failed"
    GONE = "gone"


class Kind(Enum):
    """What an upload is to tus concatenation."""

    REGULAR = "regular"
    PARTIAL = "partial"
    FINAL = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one upload may grow to, frozen into its record at creation. Sizes in bytes, `max_age` in seconds."""

    max_size: int | None = None
    min_size: int | None = None
    max_append_size: int | None = None
    min_append_size: int | None = None
    max_age: float | None = None
    sliding: bool = False


NO_LIMITS = Limits()

_BREAKS = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """The request that created an upload, as far as the final answer depends on it."""

    method: str
    target: str
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """A final answer, kept so that it can be replayed to a client that lost it."""

    status: int
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)  # no slots: `changed` copies its dictionary
class UploadInfo:
    """The record of an upload.

    `id` is one URL segment and unguessable unless a hook chose it. `length` and `offset` are bytes;
    `length` is None while deferred, `offset` counts durable bytes and is filled in by the store, never
    stored beside the bytes. `raw_metadata` and `raw_concat` are echoed as received. `storage` is the
    store's own, though a hook may preset `path` or `key`. `finals` names unfinished final uploads that
    wait for this part. `revision` is opaque and changes with every update.
    """

    id: str
    length: int | None
    offset: int = 0
    state: State = State.OPEN
    kind: Kind = Kind.REGULAR
    metadata: Mapping[str, str] = field(default_factory=empty)
    server_metadata: Mapping[str, str] = field(default_factory=empty)
    raw_metadata: str | None = None
    raw_concat: str | None = None
    parts: tuple[str, ...] = ()
    finals: tuple[str, ...] = ()
    protocol: str = "tus/1.0.0"
    created: datetime = EPOCH
    expires: datetime | None = None
    limits: Limits = NO_LIMITS
    principal: str | None = None
    storage: Mapping[str, str] = field(default_factory=empty)
    origin: StoredRequest | None = None
    response: StoredResponse | None = None
    undelivered: tuple[str, ...] = ()
    revision: str = ""

    @property
    def is_full(self) -> bool:
        """Whether every byte of a known length is durable."""
        return self.length is not None and self.offset == self.length


def changed(info: UploadInfo, /, **changes: object) -> UploadInfo:
    """dataclasses.replace for records, in a tenth of its time: every request makes several."""
    copy = object.__new__(UploadInfo)
    copy.__dict__.update(info.__dict__)
    copy.__dict__.update(changes)
    return copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request without its body.

    `path` is decoded and relative to the server's root (SCRIPT_NAME or root_path included in
    `script_name`, not in `path`). `client` is the peer's address without port. `native` is the
    environ, the scope, or the framework's own request.
    """

    method: str
    url: str
    path: str
    headers: Headers = ()
    client: str | None = None
    http_version: str = "1.1"
    principal: str | None = None
    native: object = None
    script_name: str = ""
    scheme: str = "http"
    host: str = ""
    peer: str | None = None
    _fields: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields: dict[str, str] = {}
        for name, value in self.headers:
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        object.__setattr__(self, "_fields", fields)

    def header(self, name: str) -> str | None:
        """The value of a field, lines of the same name joined by a comma; None if absent. `name` in lower case."""
        return self._fields.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer held in memory. Header names in any case; values never contain CR or LF."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def __post_init__(self) -> None:
        if not 100 <= self.status <= 599:
            raise ValueError(f"status {self.status} is not an HTTP status")
        if not self.headers:
            return
        names, values = zip(*self.headers, strict=True)
        if not all(names) or _BREAKS.search("".join(names + values)):
            raise ValueError(f"one of the headers {names} holds a line break or NUL, or has no name")


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEvent:
    """What a hook is told. `type` is the hook's name; `delivery_id` is the same for every repeat of one event."""

    type: str
    upload: UploadInfo
    request: Request
    delivery_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """What a `pre_` hook wants changed. None leaves a thing as it is; a mapping replaces the whole mapping."""

    id: str | None = None
    metadata: Mapping[str, str] | None = None
    server_metadata: Mapping[str, str] | None = None
    storage: Mapping[str, str] | None = None
    response: Response | None = None


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """A wish to verify a body: the algorithm's tus name and the digest the client computed."""

    algorithm: str
    digest: bytes
