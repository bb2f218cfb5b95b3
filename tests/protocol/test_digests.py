"""Digest fields (RFC 9530)."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuspy_server.errors import InvalidChecksum
from tuspy_server.models import Checksum, StoredRequest
from tuspy_server.protocol.digests import claimed_by, parse_digest, parse_wanted, wanted_by, write_digest

SHA256 = hashlib.sha256(b"hello").digest()
SHA512 = hashlib.sha512(b"hello").digest()


def sf(digest: bytes) -> str:
    return f":{base64.b64encode(digest).decode()}:"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"sha-256={sf(SHA256)}", Checksum(algorithm="sha256", digest=SHA256)),
        (f"sha-512={sf(SHA512)}", Checksum(algorithm="sha512", digest=SHA512)),
        (f"md5=:AAAA:, sha-512={sf(SHA512)};x", Checksum(algorithm="sha512", digest=SHA512)),
        (f"sha-512={sf(SHA512)}, sha-256={sf(SHA256)}", Checksum(algorithm="sha256", digest=SHA256)),
    ],
)
def test_a_digest_that_can_be_computed_is_found(value: str, expected: Checksum) -> None:
    assert parse_digest(value) == expected


@pytest.mark.parametrize(
    "value", [None, "", "md5=:AAAA:", "sha-256", "sha-256=1", 'sha-256="x"', "sha-256=(:AA==:)", "?", "sha-256=:!:"]
)
def test_what_cannot_be_compared_is_ignored(value: str | None) -> None:
    assert parse_digest(value) is None


@pytest.mark.parametrize("value", ["sha-256=:AAAA:", "sha-512=::", f"sha-512={sf(SHA256)}"])
def test_a_digest_of_the_wrong_size_is_refused_before_anything_is_read(value: str) -> None:
    with pytest.raises(InvalidChecksum):
        parse_digest(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sha-256=1", "sha256"),
        ("sha-256=1, sha-512=3", "sha512"),
        ("sha-256=5, sha-512=3, unixsum=10", "sha256"),
        ("sha-256=0, sha-512=1", "sha512"),
        ("sha-256=0", None),
        ("sha-256=11", None),
        ("sha-256", None),
        ("sha-256=?1", None),
        ("md5=1", None),
        (",", None),
        (None, None),
    ],
)
def test_the_best_liked_algorithm_counts(value: str | None, expected: str | None) -> None:
    assert parse_wanted(value) == expected


@pytest.mark.parametrize(
    "checksum", [Checksum(algorithm="sha256", digest=SHA256), Checksum(algorithm="sha512", digest=SHA512)]
)
def test_a_written_digest_is_read_again(checksum: Checksum) -> None:
    assert parse_digest(write_digest(checksum)) == checksum


def test_the_wishes_of_the_creation_are_kept_with_the_upload() -> None:
    headers = (("repr-digest", f"sha-256={sf(SHA256)}"), ("want-repr-digest", "sha-512=1"))
    origin = StoredRequest(method="POST", target="/", headers=headers)
    assert claimed_by(origin) == Checksum(algorithm="sha256", digest=SHA256)
    assert wanted_by(origin) == "sha512"
    assert claimed_by(None) is None
    assert wanted_by(StoredRequest(method="POST", target="/")) is None


@given(st.text())
def test_any_text_is_a_digest_or_nothing_or_refused(value: str) -> None:
    parse_wanted(value)
    try:
        found = parse_digest(value)
    except InvalidChecksum:
        return
    assert found is None or len(found.digest) in (32, 64)
