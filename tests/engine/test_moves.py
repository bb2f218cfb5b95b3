"""Bodies that the kernel moves: what the engine does with what it is given, under every runner."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engine.client import APPEND, EngineClient, FakeClock, Runner
from tests.engine.test_checksum import digest
from tuspy_server import Config, FileStore, Hooks, MemoryStore
from tuspy_server.errors import BodyInterrupted, TusError


class PipedBody:
    """A body whose blocks wait in a source that can put them into a file; it may break off."""

    def __init__(self, blocks: Sequence[bytes], *, held: bytes = b"", cut: bool = False) -> None:
        self._blocks = list(blocks)
        self._held = held
        self._cut = cut
        self.moved = 0
        self.is_moving = False
        self.clock: FakeClock | None = None

    @property
    def movable(self) -> PipedBody:
        return self

    def begin_moves(self) -> bytes:
        self.is_moving = True
        held, self._held = self._held, b""
        return held

    async def await_bytes(self) -> int:
        if self.clock is not None:
            self.clock.seconds += 2
        if self._blocks:
            return len(self._blocks[0])
        if self._cut:
            raise BodyInterrupted
        return 0

    def move(self, target: int, limit: int, /) -> int:
        size = os.write(target, self._blocks.pop(0)[:limit])
        self.moved += size
        return size

    def end_moves(self) -> None:
        self.is_moving = False

    async def read(self) -> Sequence[bytes] | None:
        assert not self.is_moving
        chunks = self.take()
        if not chunks and self._cut:
            raise BodyInterrupted
        return chunks or None

    def take(self) -> Sequence[bytes]:
        chunks = [chunk for chunk in (self._held, *self._blocks) if chunk]
        self._held = b""
        self._blocks.clear()
        return chunks

    def interrupt(self, error: TusError, /) -> None:
        raise AssertionError("nobody asks for this upload")


def append(client: EngineClient, upload: str, body: PipedBody, size: int, **headers: str) -> int:
    fields = {**APPEND, "Upload-Offset": "0", **headers}
    return client.request("PATCH", upload, fields, body, size=size).status


@pytest.fixture
def files(runner: Runner, tmp_path: Path) -> EngineClient:
    return EngineClient(FileStore(tmp_path), runner=runner)


def test_a_moved_body_follows_what_had_been_read_of_it(files: EngineClient) -> None:
    upload = files.create(9).id
    body = PipedBody([b"llo", b" yo"], held=b"hel")
    assert append(files, upload, body, 9) == 204
    assert (body.moved, body.is_moving) == (6, False)
    assert files.get(upload).body == b"helllo yo"


def test_nothing_read_before_is_nothing_written_before(files: EngineClient) -> None:
    upload = files.create(5).id
    assert append(files, upload, PipedBody([b"hello"]), 5) == 204
    assert files.get(upload).body == b"hello"


def test_a_moved_body_that_breaks_off_keeps_what_arrived(files: EngineClient) -> None:
    upload = files.create(9).id
    body = PipedBody([b"hel", b"lo"], cut=True)
    append(files, upload, body, 9)
    assert not body.is_moving
    assert files.head(upload).offset == 5


def test_hooks_hear_of_moved_bytes(runner: Runner, tmp_path: Path) -> None:
    seen: list[int] = []
    hooks = Hooks(post_receive=lambda event: seen.append(event.upload.offset))
    client = EngineClient(FileStore(tmp_path), Config(post_receive_interval=0), hooks, runner)
    assert append(client, client.create(5).id, PipedBody([b"hel", b"lo"]), 5) == 204
    assert seen == [3, 5]


def test_a_moved_body_that_is_too_slow_is_interrupted(runner: Runner, tmp_path: Path) -> None:
    client = EngineClient(FileStore(tmp_path), Config(min_rate=1000), runner=runner)
    upload = client.create(100).id
    body = PipedBody([b"x"] * 100)
    body.clock = client.clock
    assert append(client, upload, body, 100) >= 400
    assert 0 < client.head(upload).offset < 100


def test_a_body_to_be_hashed_is_read(files: EngineClient) -> None:
    upload = files.create(5).id
    body = PipedBody([b"hello"])
    assert append(files, upload, body, 5, **{"Upload-Checksum": digest("sha1", b"hello")}) == 204
    assert (body.moved, files.get(upload).body) == (0, b"hello")


def test_a_store_without_a_file_is_written(runner: Runner) -> None:
    client = EngineClient(MemoryStore(), runner=runner)
    upload = client.create(5).id
    body = PipedBody([b"hello"])
    assert append(client, upload, body, 5) == 204
    assert (body.moved, client.get(upload).body) == (0, b"hello")


def test_a_whole_download_is_a_file_and_a_range_is_not(files: EngineClient, tmp_path: Path) -> None:
    upload = files.create(5, b"hello").id
    whole, part = files.get(upload).reply.download, files.get(upload, Range="bytes=1-2").reply.download
    assert whole is not None
    assert part is not None
    path = whole.path(files.composer.store)
    assert path is not None
    assert Path(path).read_bytes() == b"hello"
    assert part.path(files.composer.store) is None
    assert whole.path(MemoryStore()) is None
