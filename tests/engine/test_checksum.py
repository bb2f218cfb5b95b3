"""tus 1.0.0, checksum: all of a body counts, or none."""

from __future__ import annotations

import base64
import hashlib
import runpy
import sys
import zlib

import pytest

from tests.engine.client import APPEND, EngineClient
from tuspy_server import Composer, MemoryLocker, MemoryStore
from tuspy_server.protocol import checksums
from tuspy_server.protocol.checksums import ALGORITHMS, hasher


def digest(algorithm: str, body: bytes) -> str:
    if algorithm == "crc32":
        raw = zlib.crc32(body).to_bytes(4, "big")
    elif algorithm == "crc32c":
        computed = hasher(algorithm)
        computed.update(body)
        raw = computed.digest()
    else:
        raw = hashlib.new(algorithm, body).digest()
    return f"{algorithm} {base64.b64encode(raw).decode()}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_matching_checksum_is_stored(client: EngineClient, algorithm: str) -> None:
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello", upload_checksum=digest(algorithm, b"hello")).status == 204
    assert client.get(upload).body == b"hello"


def test_crc32c_is_the_castagnoli_polynomial() -> None:
    computed = hasher("crc32c")
    computed.update(b"123456789")
    assert computed.digest().hex() == "e3069283"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_mismatch_is_460_and_discards_the_body(client: EngineClient, algorithm: str) -> None:
    upload = client.create(10, b"first").id
    assert client.append(upload, 5, b"hello", upload_checksum=digest(algorithm, b"hallo")).status == 460
    assert client.head(upload).offset == 5
    assert client.append(upload, 5, b"hello", upload_checksum=digest(algorithm, b"hello")).status == 204
    assert client.get(upload).body == b"firsthello"


@pytest.mark.parametrize(
    "value", ["sha1", "sha1 ", "sha1 !!", "SHA1 " + "A" * 28, "sha3 AAAA", "sha1 AAAA", "", "sha1  " + "A" * 27 + "="]
)
def test_a_malformed_or_unknown_checksum_is_400_and_stores_nothing(client: EngineClient, value: str) -> None:
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello", upload_checksum=value).status == 400
    assert client.head(upload).offset == 0


def test_an_interrupted_checksummed_body_is_discarded(client: EngineClient) -> None:
    upload = client.create(100).id
    headers = {**APPEND, "Upload-Offset": "0", "Upload-Checksum": digest("sha1", b"x" * 100)}
    assert client.request("PATCH", upload, headers, b"x" * 40, size=100).status == 500
    assert client.head(upload).offset == 0


def test_a_checksummed_body_beyond_the_end_is_discarded(client: EngineClient) -> None:
    upload = client.create(3).id
    headers = {**APPEND, "Upload-Offset": "0", "Upload-Checksum": digest("sha1", b"hello")}
    assert client.request("PATCH", upload, headers, b"hello", size=None).status == 413
    assert client.head(upload).offset == 0


def test_a_creation_with_a_checksum_follows_the_same_rules(client: EngineClient) -> None:
    good = client.create(5, b"hello", upload_checksum=digest("md5", b"hello"))
    bad = client.create(5, b"hello", upload_checksum=digest("md5", b"hallo"))
    assert (good.status, good.offset) == (201, 5)
    assert (bad.status, "location" in bad.headers) == (460, False)


def test_an_empty_body_has_a_checksum_too(client: EngineClient) -> None:
    upload = client.create(5).id
    assert client.append(upload, 0, b"", upload_checksum=digest("sha1", b"x")).status == 460
    assert client.create(5, b"", upload_checksum=digest("sha1", b"x")).status == 460
    assert client.append(upload, 0, b"", upload_checksum=digest("sha1", b"")).status == 204


def test_without_a_stager_the_field_is_ignored_as_not_announced() -> None:
    client = EngineClient(Composer(MemoryStore(), MemoryLocker(), stager=None))
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello", upload_checksum="sha1 nonsense").status == 204


def test_without_its_library_crc32c_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    found = runpy.run_path(checksums.__file__)["ALGORITHMS"]
    assert set(ALGORITHMS) - set(found) == {"crc32c"}
