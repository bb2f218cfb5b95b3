"""Work that grows with the size of an upload never runs on the event loop, however fast the store has been."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import httpx
import pytest

from tuspy_server import ASGIApp, FileStore
from tuspy_server.models import UploadInfo
from tuspy_server.protocol.rules import LARGEST_BRIEF

TUS = {"Tus-Resumable": "1.0.0"}
APPEND = {**TUS, "Content-Type": "application/offset+octet-stream"}


class Watched(FileStore):
    """Notes which of its long members ran in which thread."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.seen: list[tuple[str, threading.Thread]] = []

    def finish(self, info: UploadInfo, /) -> None:
        self.seen.append(("finish", threading.current_thread()))
        super().finish(info)

    def terminate(self, info: UploadInfo, /) -> None:
        self.seen.append(("terminate", threading.current_thread()))
        super().terminate(info)

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        self.seen.append(("concat", threading.current_thread()))
        return super().concat(info, parts)

    def on_the_loop(self) -> list[tuple[str, bool]]:
        """What was called since, and whether on the loop; forgets it."""
        found = [(name, thread is threading.current_thread()) for name, thread in self.seen]
        self.seen.clear()
        return found


class Client:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def create(self, length: int, **fields: str) -> str:
        answer = await self.http.post("/", headers={**TUS, "Upload-Length": str(length), **fields})
        assert answer.status_code == 201
        return answer.headers["Location"]

    async def append(self, url: str, offset: int, body: bytes) -> None:
        answer = await self.http.patch(url, headers={**APPEND, "Upload-Offset": str(offset)}, content=body)
        assert answer.status_code == 204

    async def final(self, *parts: str) -> str:
        answer = await self.http.post("/", headers={**TUS, "Upload-Concat": f"final;{' '.join(parts)}"})
        assert answer.status_code == 201
        return answer.headers["Location"]


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def served(store: Watched) -> Client:
    return Client(httpx.AsyncClient(transport=httpx.ASGITransport(ASGIApp(store)), base_url="http://x"))


def test_a_small_upload_ends_on_the_loop_and_a_large_one_in_a_thread(store: Watched) -> None:
    async def upload() -> None:
        client = await served(store)
        small = await client.create(5)
        await client.append(small, 0, b"hello")
        assert store.on_the_loop() == [("finish", True)]
        large = await client.create(LARGEST_BRIEF + 5)
        await client.append(large, 0, bytes(LARGEST_BRIEF))
        await client.append(large, LARGEST_BRIEF, b"hello")
        assert store.on_the_loop() == [("finish", False)]

    anyio.run(upload)


def test_an_upload_is_removed_in_a_thread(store: Watched) -> None:
    async def remove() -> None:
        client = await served(store)
        assert (await client.http.delete(await client.create(5), headers=TUS)).status_code == 204
        assert store.on_the_loop() == [("terminate", False)]

    anyio.run(remove)


def test_parts_are_copied_in_threads(store: Watched) -> None:
    async def concatenate() -> None:
        client = await served(store)
        part = await client.create(5, **{"Upload-Concat": "partial"})
        await client.append(part, 0, b"hello")
        store.on_the_loop()
        await client.final(part, part)
        assert ("concat", False) in (seen := store.on_the_loop())
        assert not any(on_loop for _, on_loop in seen)

    anyio.run(concatenate)


def test_parts_that_a_final_waited_for_are_copied_in_threads(store: Watched) -> None:
    async def concatenate() -> None:
        client = await served(store)
        part = await client.create(5, **{"Upload-Concat": "partial"})
        final = await client.final(part)
        await client.append(part, 0, b"hello")
        seen = [name for name, on_loop in store.on_the_loop() if not on_loop]
        assert "concat" in seen
        assert (await client.http.head(final, headers=TUS)).headers["Upload-Offset"] == "5"

    anyio.run(concatenate)


def test_a_look_at_what_a_crash_left_copies_in_threads(store: Watched) -> None:
    async def look() -> None:
        client = await served(store)
        part = await client.create(5, **{"Upload-Concat": "partial"})
        final = await client.final(part)
        # a server that died after the part's last byte neither finished it nor told the final
        info = store.get(part.rpartition("/")[2])
        writer = store.open(info, fence=None)
        writer.write([b"hello"])
        writer.close()
        assert (await client.http.head(part, headers=TUS)).status_code == 200
        assert store.on_the_loop() == [("finish", False), ("concat", False), ("finish", False)]
        assert (await client.http.head(final, headers=TUS)).headers["Upload-Offset"] == "5"

    anyio.run(look)
