"""Content-Digest, Repr-Digest and Want-Repr-Digest (RFC 9530): sha-256 and sha-512, others are ignored."""

from __future__ import annotations

from tuspy_server.errors import InvalidChecksum
from tuspy_server.models import Checksum, StoredRequest
from tuspy_server.protocol import structured
from tuspy_server.protocol.checksums import hasher

_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_FIELD_NAMES = {name: field_name for field_name, name in _ALGORITHMS.items()}


def parse_digest(value: str | None) -> Checksum | None:
    """The digest that a body is to be compared with, None if there is none that we can compute.

    Raises InvalidChecksum for one of the wrong size: nothing could ever match it.
    """
    members = structured.dictionary(value)
    for field_name, algorithm in _ALGORITHMS.items():
        digest = members.get(field_name)
        if not isinstance(digest, bytes):
            continue
        if len(digest) != len(hasher(algorithm).digest()):
            raise InvalidChecksum(f"a {field_name} digest of this size matches nothing")
        return Checksum(algorithm=algorithm, digest=digest)
    return None


def parse_wanted(value: str | None) -> str | None:
    """The algorithm that Want-Repr-Digest likes best of those we have; weight 0 means: not this one."""
    weights = {
        algorithm: weight
        for field_name, algorithm in _ALGORITHMS.items()
        if type(weight := structured.dictionary(value).get(field_name)) is int and 0 < weight <= 10
    }
    return max(weights, key=weights.__getitem__) if weights else None


def write_digest(checksum: Checksum) -> str:
    """The value of Repr-Digest or Content-Digest. Only for algorithms that RFC 9530 has here."""
    return structured.write({_FIELD_NAMES[checksum.algorithm]: checksum.digest})


def claimed_by(origin: StoredRequest | None) -> Checksum | None:
    """The Repr-Digest that an upload was created with: its bytes must have it, or the upload fails."""
    return parse_digest(_kept(origin, "repr-digest"))


def wanted_by(origin: StoredRequest | None) -> str | None:
    """The algorithm whose digest the answer that completes the upload should carry."""
    return parse_wanted(_kept(origin, "want-repr-digest"))


def _kept(origin: StoredRequest | None, name: str) -> str | None:
    return None if origin is None else dict(origin.headers).get(name)
