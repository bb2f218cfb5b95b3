"""What a request wants, whichever dialect it was written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tuspy_server.models import Checksum, Kind, StoredRequest, empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The announced body. `size` is None when it is chunked, 0 when there is none."""

    size: int | None = 0
    expects_continue: bool = False

    @property
    def present(self) -> bool:
        return self.size != 0


NO_CONTENT = Content()
UNKNOWN_CONTENT = Content(size=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A new upload. `complete` is the client's word that this body is the whole rest (None: implied by length).

    `limited` says that the limits of appends bind this body too; `announce` that the upload may be announced, and
    its progress told, while the body is on its way.
    """

    protocol: str
    length: int | None
    content: Content = NO_CONTENT
    metadata: Mapping[str, str] = field(default_factory=empty)
    raw_metadata: str | None = None
    kind: Kind = Kind.REGULAR
    raw_concat: str | None = None
    parts: tuple[str, ...] = ()
    checksum: Checksum | None = None
    complete: bool | None = None
    origin: StoredRequest | None = None
    announce: bool = False
    limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Bytes for an upload, at `offset`. `length` declares it (again); the flags are those of `Create`.

    `invalidates` says that content beyond the upload's length ends it: the client has lost track.
    """

    id: str
    protocol: str
    offset: int
    content: Content = NO_CONTENT
    length: int | None = None
    checksum: Checksum | None = None
    complete: bool | None = None
    announce: bool = False
    limited: bool = False
    invalidates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Where does the upload stand?"""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """Remove the upload."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """The bytes of a finished upload."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discover:
    """What can this server do?"""


Intent: TypeAlias = Create | Append | Describe | Terminate | Fetch | Discover
