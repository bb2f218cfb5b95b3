"""Upload-Checksum: algorithms, grammar, and the comparison."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Protocol

from tuspy_server.errors import InvalidChecksum
from tuspy_server.models import Checksum


class Hasher(Protocol):
    """What hashlib's objects offer, as far as it is needed here."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 as a hasher; the digest is big-endian, as in other tus servers."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _crc32c() -> dict[str, Callable[[], Hasher]]:
    """CRC-32C where its library is installed."""
    try:
        import google_crc32c
    except ImportError:
        return {}
    return {"crc32c": google_crc32c.Checksum}


_HASHERS: dict[str, Callable[[], Hasher]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "crc32": _Crc32,
    **_crc32c(),
}

ALGORITHMS: tuple[str, ...] = tuple(_HASHERS)


def hasher(algorithm: str) -> Hasher:
    """A fresh hasher for one of `ALGORITHMS`."""
    return _HASHERS[algorithm]()


def parse_checksum(value: str | None) -> Checksum | None:
    """`<algorithm> <base64>`, exactly one space (tus 1.0.0, Checksum). Unknown algorithms are 400, not ignored."""
    if value is None:
        return None
    algorithm, space, encoded = value.strip(" \t").partition(" ")
    if not space or algorithm not in _HASHERS:
        raise InvalidChecksum
    try:
        digest = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidChecksum from exc
    if len(digest) != len(hasher(algorithm).digest()):
        raise InvalidChecksum
    return Checksum(algorithm=algorithm, digest=digest)


def matches(checksum: Checksum, computed: Hasher) -> bool:
    """Whether the computed digest is the announced one."""
    return hmac.compare_digest(checksum.digest, computed.digest())
