# mypy: disable-error-code="no-untyped-call"
"""Drives tuspy: each scenario uploads with some of its options, and tells which.

What it does not do is in docs/clients.md, among the client's own faults.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tusclient.client import TusClient
from tusclient.fingerprint.interface import Fingerprint
from tusclient.storage.filestorage import FileStorage
from tusclient.uploader.baseuploader import BaseUploader
from tusclient.uploader.uploader import Uploader

from tests.interop.clients.outcomes import Outcome

SIZE = 1 << 20
CHUNK = 300_000


@dataclass
class Driver:
    """One scenario's view of the server at `url`; files of its own go to `place`, which has a certificate."""

    url: str
    secure_url: str
    place: Path
    options: set[str] = field(default_factory=set)
    left: list[tuple[str, str | None]] = field(default_factory=list)

    def client(self, **options: Any) -> TusClient:
        self.options |= {"url", *options}
        return TusClient(**{"url": self.url, **options})

    def uploader(self, client: TusClient | None = None, **options: Any) -> Uploader:
        """One of that client, or of the plain one where the options name no URL."""
        self.options |= set(options)
        if "url" in options:
            return Uploader(**options)
        self.options.add("client")
        return (client or self.client()).uploader(**options)

    def send(self, body: bytes, client: TusClient | None = None, **options: Any) -> Uploader:
        uploader = self.uploader(client, file_stream=io.BytesIO(body), **options)
        uploader.upload()
        self.leave(uploader, body)
        return uploader

    def leave(self, uploader: Any, body: bytes) -> None:
        self.left.append((uploader.url, hashlib.sha256(body).hexdigest()))

    def file(self, body: bytes) -> str:
        path = self.place / f"file-{len(list(self.place.iterdir()))}"
        path.write_bytes(body)
        return str(path)


Scenario = Callable[[Driver], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[name] = function
        return function

    return register


def options() -> list[str]:
    """All that a client, an uploader and its `upload` take."""
    takers: list[Callable[..., Any]] = [TusClient.__init__, BaseUploader.__init__, Uploader.upload]
    return sorted({name for taker in takers for name in inspect.signature(taker).parameters} - {"self"})


def run(url: str, secure_url: str, place: Path) -> Iterator[tuple[str, Outcome]]:
    """Every scenario's outcome."""
    for name, function in SCENARIOS.items():
        driver = Driver(url, secure_url, place)
        failed = None
        try:
            function(driver)
        except Exception as exc:  # told by the scenario's own test
            failed = repr(exc)
        yield name, Outcome(sorted(driver.options), driver.left, failed)


@scenario("a file in one request")
def whole(driver: Driver) -> None:
    body = os.urandom(SIZE)
    uploader = driver.uploader(file_path=driver.file(body))
    uploader.upload()
    driver.leave(uploader, body)


@scenario("a stream in chunks")
def chunks(driver: Driver) -> None:
    driver.send(os.urandom(SIZE), chunk_size=CHUNK)


@scenario("chunks that end with the file")
def even(driver: Driver) -> None:
    driver.send(os.urandom(SIZE), chunk_size=SIZE // 4)


@scenario("an empty file")
def empty(driver: Driver) -> None:
    driver.send(b"")


@scenario("metadata and its encoding")
def metadata(driver: Driver) -> None:
    driver.send(b"hello", metadata={"filename": "snow \u2603", "empty": ""})
    driver.send(b"hello", metadata={"filename": "umläut"}, metadata_encoding="latin-1")


@scenario("headers")
def headers(driver: Driver) -> None:
    client = driver.client(headers={"Authorization": "Bearer x"})
    client.set_headers({"X-Request-ID": "own"})
    driver.send(os.urandom(SIZE), client, chunk_size=CHUNK)


@scenario("checksums")
def checksums(driver: Driver) -> None:
    driver.send(os.urandom(SIZE), upload_checksum=True, chunk_size=CHUNK)


@scenario("a stop and a resumption by URL")
def resumed(driver: Driver) -> None:
    body = os.urandom(SIZE)
    first = driver.uploader(file_stream=io.BytesIO(body), chunk_size=CHUNK)
    driver.options.add("stop_at")
    first.upload(stop_at=500_000)
    assert driver.send(body, url=first.url).url == first.url


@scenario("a stored URL")
def stored(driver: Driver) -> None:
    body = os.urandom(SIZE)
    storage = FileStorage(str(driver.place / "urls.json"))
    try:
        kept: dict[str, Any] = {"store_url": True, "url_storage": storage}
        path = driver.file(body)
        first = driver.uploader(file_path=path, chunk_size=CHUNK, **kept)
        first.upload_chunk()
        second = driver.uploader(file_path=path, **kept)
        assert (second.url, second.offset) == (first.url, CHUNK)
        second.upload()
        driver.leave(second, body)
    finally:
        storage.close()


class OwnFingerprint(Fingerprint):
    def get_fingerprint(self, fs: IO[bytes]) -> str:
        return f"own-{len(fs.read())}"


@scenario("a fingerprint of its own")
def fingerprint(driver: Driver) -> None:
    storage = FileStorage(str(driver.place / "own.json"))
    try:
        options: dict[str, Any] = {"store_url": True, "url_storage": storage, "fingerprinter": OwnFingerprint()}
        body = os.urandom(SIZE)
        uploader = driver.uploader(file_path=driver.file(body), **options)
        uploader.upload()
        driver.leave(uploader, body)
        assert storage.get_item(f"own-{SIZE}") == uploader.url
    finally:
        storage.close()


@scenario("retries after a wrong offset")
def retries(driver: Driver) -> None:
    body = os.urandom(SIZE)
    uploader = driver.uploader(file_stream=io.BytesIO(body), chunk_size=CHUNK, retries=2, retry_delay=0)
    uploader.upload_chunk()
    uploader.offset = 7
    uploader.upload()
    driver.leave(uploader, body)


@scenario("a certificate of the client, that of the server not verified")
def certificates(driver: Driver) -> None:
    certificate = (str(driver.place / "certificate.pem"), str(driver.place / "key.pem"))
    client = driver.client(url=driver.secure_url, client_cert=certificate)
    driver.send(os.urandom(SIZE), client, verify_tls_cert=False, chunk_size=CHUNK)


@scenario("the asynchronous uploader")
def asynchronous(driver: Driver) -> None:
    body = os.urandom(SIZE)
    options: dict[str, Any] = {"chunk_size": CHUNK, "metadata": {"filename": "x"}, "upload_checksum": True}
    uploader = driver.client().async_uploader(file_stream=io.BytesIO(body), **options)
    asyncio.run(uploader.upload())
    driver.leave(uploader, body)


@scenario("an empty file of the asynchronous uploader")
def asynchronous_empty(driver: Driver) -> None:
    uploader = driver.client().async_uploader(file_stream=io.BytesIO(b""))
    asyncio.run(uploader.upload())
    driver.leave(uploader, b"")
