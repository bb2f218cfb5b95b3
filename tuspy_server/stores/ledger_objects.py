"""What a ledger store asks of an object service, and where it puts an upload's objects.

Names, all below `<prefix><id>/` so that ids `a` and `ab` never touch each other: `info` is the record, `data` the
finished upload (unless a hook presets `storage["key"]`), `<nonce>.ledger` the ledger and, where pieces are objects,
`<nonce>.<piece>` a piece. The nonce is new with every creation: what a writer of an earlier upload of the same id
left behind is never taken for this one's.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tuspy_server.stores.ledger import Piece


@dataclass(frozen=True, slots=True)
class Names:
    """Where the objects of one upload lie."""

    folder: str
    nonce: str

    @property
    def info(self) -> str:
        return f"{self.folder}info"

    @property
    def ledger(self) -> str:
        return f"{self.folder}{self.nonce}.ledger"

    def piece(self, piece: Piece) -> str:
        return f"{self.folder}{self.nonce}.{piece.name}"


class Stored(Protocol):
    """A small object as read."""

    @property
    @abstractmethod
    def body(self) -> bytes: ...
    @property
    @abstractmethod
    def version(self) -> str: ...


class Found(Protocol):
    """An object as listed."""

    @property
    @abstractmethod
    def name(self) -> str: ...
    @property
    @abstractmethod
    def size(self) -> int: ...
    @property
    @abstractmethod
    def version(self) -> str: ...
    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, str]: ...


class Objects(Protocol):
    """Conditional objects of one bucket or container. Every method may raise StoreError."""

    @abstractmethod
    def get(self, key: str) -> Stored | None: ...
    @abstractmethod
    def put_if_absent(self, key: str, body: bytes, *, metadata: Mapping[str, str] = ...) -> str | None: ...
    @abstractmethod
    def put_if_match(self, key: str, body: bytes, version: str, *, metadata: Mapping[str, str] = ...) -> str | None: ...
    @abstractmethod
    def delete_if_match(self, key: str, version: str) -> bool: ...
    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None: ...
    @abstractmethod
    def find(self, prefix: str) -> Iterable[Found]: ...
    @abstractmethod
    def head(self, key: str) -> Found | None: ...
    @abstractmethod
    def read(self, key: str, start: int, stop: int, version: str) -> bytes | None: ...
    @property
    @abstractmethod
    def signs(self) -> bool: ...
    @abstractmethod
    def presigned(self, key: str, seconds: int, headers: Mapping[str, str]) -> str: ...


_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}(;[\x20-\x7e]{1,255})?", re.ASCII)


def content_type(metadata: Mapping[str, str]) -> str | None:
    """The media type that a client announced as `filetype` (tus-js-client, Uppy), if it is one."""
    announced = metadata.get("filetype", "")
    return announced if _MEDIA_TYPE.fullmatch(announced) else None
