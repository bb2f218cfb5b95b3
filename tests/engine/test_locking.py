"""Hand-over of an upload between requests, lost locks, and what is kept when a request ends early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tests.engine.test_checksum import digest
from tuspy_server import Composer, Config, FileStore, Hooks, MemoryLocker, MemoryStore
from tuspy_server.callers import InlineCaller, LoopCaller, run_sync
from tuspy_server.engine import Buffered, WouldWait
from tuspy_server.errors import TusError
from tuspy_server.interfaces import Lock
from tuspy_server.models import Request, UploadInfo
from tuspy_server.runtime import Runtime
from tuspy_server.stores.file_writer import FileWriter, StagedFileWriter
from tuspy_server.stores.limited import LimitedStore
from tuspy_server.stores.memory import MemoryStagedWriter, MemoryWriter

F = TypeVar("F", FileWriter, StagedFileWriter)
W = TypeVar("W", MemoryWriter, MemoryStagedWriter)


class Script:
    """A body that hands over what it was given; a callable in it is called instead."""

    def __init__(self, *steps: bytes | Callable[[], object]) -> None:
        self._steps = list(steps)
        self.reason: TusError | None = None
        self.leftover: list[bytes] = []

    async def read(self) -> Sequence[bytes] | None:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, bytes):
                return [step]
            step()
            if self.reason is not None:
                raise self.reason
        return None

    def take(self) -> Sequence[bytes]:
        taken, self.leftover = self.leftover, []
        return taken

    def interrupt(self, reason: TusError) -> None:
        self.reason = self.reason or reason


def test_a_request_for_an_upload_in_use_interrupts_it_and_keeps_its_bytes(runner: Runner) -> None:
    locker = MemoryLocker()
    client = EngineClient(Composer(MemoryStore(), locker), runner=runner)
    upload = client.create(10).id
    body = Script(b"hello", lambda: locker.request_release(upload), b"never")
    answer = client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, body)
    assert (answer.status, answer["retry-after"]) == (423, "1")
    assert client.head(upload).offset == 5


def test_a_holder_that_does_not_let_go_is_423_after_the_timeout(runner: Runner) -> None:
    locker = MemoryLocker()
    client = EngineClient(Composer(MemoryStore(), locker), Config(acquire_lock_timeout=3), runner=runner)
    upload = client.create(10).id
    asked: list[int] = []
    lock = locker.try_lock(upload, lambda: asked.append(1), lambda: None)
    assert lock is not None
    for answer in (client.head(upload), client.append(upload, 0, b"x"), client.delete(upload)):
        assert (answer.status, answer["retry-after"]) == (423, "1")
    assert client.clock.seconds >= 9
    assert len(asked) > 3
    lock.release()
    assert client.head(upload).status == 200


def test_a_download_needs_no_lock(client: EngineClient) -> None:
    upload = client.create(5, b"hello").id
    locker = client.composer.locker
    assert isinstance(locker, MemoryLocker)
    lock = locker.try_lock(upload, lambda: pytest.fail("interrupted by a download"), lambda: None)
    assert client.get(upload).body == b"hello"
    assert client.head(upload).offset == 5
    assert lock is not None


@dataclass
class Losable:
    """A lock that can be taken away."""

    inner: Lock
    alive: bool = True
    token: int | None = 1
    released: int = 0

    def release(self) -> None:
        self.released += 1
        self.inner.release()


@dataclass
class LosingLocker:
    """Hands out locks whose loss a test can announce."""

    inner: MemoryLocker = field(default_factory=MemoryLocker)
    retry_interval: float = 0.005
    last: Losable | None = None
    on_lost: Callable[[], None] = lambda: None

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> Losable | None:
        lock = self.inner.try_lock(upload_id, on_release_requested, on_lost)
        if lock is None:
            return None
        self.on_lost = on_lost
        self.last = Losable(lock)
        return self.last

    def request_release(self, upload_id: str, /) -> None:
        self.inner.request_release(upload_id)

    def lose(self) -> None:
        assert self.last is not None
        self.last.alive = False
        self.on_lost()

    def die_quietly(self) -> None:
        assert self.last is not None
        self.last.alive = False


@pytest.mark.parametrize("how", ["lose", "die_quietly"])
@pytest.mark.parametrize("checksum", [False, True])
def test_after_a_lost_lock_nothing_is_written(runner: Runner, how: str, checksum: bool) -> None:
    locker = LosingLocker()
    store = MemoryStore()
    client = EngineClient(Composer(store, locker), runner=runner)
    upload = client.create(10).id
    body = Script(b"hel", lambda: getattr(locker, how)(), b"lo")
    headers = {**APPEND, "Upload-Offset": "0"}
    if checksum:
        headers["Upload-Checksum"] = "crc32 AAAAAA=="
    answer = client.request("PATCH", upload, headers, body)
    assert (answer.status, answer["retry-after"]) == (503, "1")
    assert locker.last is not None
    assert locker.last.released == 1
    assert store.get(upload).offset in ((0,) if checksum else (0, 3))


class Keeping(FileStore):
    """Somebody refers to its writers for ever, as an idle worker thread may."""

    def open(self, info: UploadInfo, /, *, fence: int | None) -> FileWriter:
        return self._kept(super().open(info, fence=fence))

    def stage(self, info: UploadInfo, /, *, fence: int | None) -> StagedFileWriter:
        return self._kept(super().stage(info, fence=fence))

    def _kept(self, writer: F) -> F:
        vars(self).setdefault("writers", []).append(writer)
        return writer


@pytest.mark.parametrize("limited", [False, True], ids=["plain store", "limited store"])
@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "checksummed"])
def test_after_a_lost_lock_the_next_owner_can_append(
    runner: Runner, limited: bool, checksum: bool, tmp_path: Path
) -> None:
    store, locker = Keeping(tmp_path), LosingLocker()
    client = EngineClient(Composer(LimitedStore(store, 1 << 20) if limited else store, locker), runner=runner)
    upload = client.create(None).id
    headers = {**APPEND, "Upload-Offset": "0"}
    if checksum:
        headers["Upload-Checksum"] = digest("crc32", b"hello")
    assert client.request("PATCH", upload, headers, Script(b"hel", locker.lose, b"lo")).status == 503
    assert client.append(upload, store.get(upload).offset, b"more").status == 204


class PausedInClose(MemoryStore):
    """Its process is stopped while a body is closed, until the lock has gone to another."""

    locker: LosingLocker

    def _pausing(self, writer: W) -> W:
        close = writer.close

        def paused() -> int:
            self.locker.die_quietly()
            return close()

        writer.close = paused  # type: ignore[method-assign]  # only this writer pauses
        return writer

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MemoryWriter:
        return self._pausing(super().open(info, fence=fence))

    def stage(self, info: UploadInfo, /, *, fence: int | None) -> MemoryStagedWriter:
        return self._pausing(super().stage(info, fence=fence))


@pytest.mark.parametrize("length", [5, 10], ids=["last", "more to come"])
@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "checksummed"])
def test_a_lock_lost_while_closing_acknowledges_nothing(runner: Runner, length: int, checksum: bool) -> None:
    store = PausedInClose()
    store.locker = LosingLocker()
    client = EngineClient(Composer(store, store.locker), runner=runner)
    upload = client.create(length).id
    headers = {**APPEND, "Upload-Offset": "0"}
    if checksum:
        headers["Upload-Checksum"] = digest("crc32", b"hello")
    answer = client.request("PATCH", upload, headers, b"hello")
    assert (answer.status, "upload-offset" in answer.headers) == (503, False)


def test_a_lock_lost_before_the_end_finishes_nothing() -> None:
    told: list[object] = []
    locker = LosingLocker()
    client = EngineClient(Composer(MemoryStore(), locker), hooks=Hooks(pre_finish=told.append))
    upload = client.create(5).id
    answer = client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, Script(b"hello", locker.die_quietly))
    assert answer.status == 503
    assert told == []


async def _cancelled_append(client: EngineClient, upload: str, headers: dict[str, str]) -> None:
    runtime = Runtime(client.composer, LoopCaller())
    arrived = anyio.Event()

    class Endless(Script):
        async def read(self) -> Sequence[bytes] | None:
            batch = await super().read()
            if batch is not None:
                return batch
            self.leftover.append(b"lo")
            arrived.set()
            await anyio.sleep_forever()
            return None

    fields = tuple({"tus-resumable": "1.0.0", "transfer-encoding": "chunked", **headers}.items())
    request = Request(method="PATCH", url="", path=f"/{upload}", headers=fields)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.engine.carry_out, client.engine.begin(request), Endless(b"hel"), runtime)
        await arrived.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_append_keeps_its_bytes_and_frees_the_lock(backend: str) -> None:
    client = EngineClient()
    upload = client.create(10).id
    headers = {"content-type": APPEND["Content-Type"], "upload-offset": "0"}
    anyio.run(_cancelled_append, client, upload, headers, backend=backend)
    assert client.append(upload, 5, b"world").status == 204
    assert client.get(upload).body == b"helloworld"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_checksummed_append_leaves_nothing(backend: str) -> None:
    client = EngineClient()
    upload = client.create(10).id
    headers = {
        "content-type": APPEND["Content-Type"],
        "upload-offset": "0",
        "upload-checksum": "crc32 AAAAAA==",
    }
    anyio.run(_cancelled_append, client, upload, headers, backend=backend)
    assert client.head(upload).offset == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_append_into_a_full_store_still_frees_the_lock(backend: str) -> None:
    client = EngineClient(MemoryStore(capacity=3))
    upload = client.create(10).id
    headers = {"content-type": APPEND["Content-Type"], "upload-offset": "0"}
    anyio.run(_cancelled_append, client, upload, headers, backend=backend)
    assert client.head(upload).offset == 3


def test_a_cancelled_append_that_lost_its_lock_writes_nothing_more() -> None:
    locker = LosingLocker()
    store = MemoryStore()
    client = EngineClient(Composer(store, locker))
    upload = client.create(10).id

    class Dying(Script):
        async def read(self) -> Sequence[bytes] | None:
            self.leftover.append(b"late")
            locker.die_quietly()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, Dying())
    assert store.get(upload).offset == 0


def test_where_waiting_is_not_allowed_a_contended_lock_is_reported() -> None:
    client = EngineClient()
    upload = client.create(10).id
    locker = client.composer.locker
    assert isinstance(locker, MemoryLocker)
    lock = locker.try_lock(upload, lambda: None, lambda: None)
    request = Request(method="HEAD", url="", path=f"/{upload}", headers=(("tus-resumable", "1.0.0"),))
    runtime = Runtime(client.composer, InlineCaller(may_wait=False))
    with pytest.raises(WouldWait):
        run_sync(client.engine.carry_out(client.engine.begin(request), Buffered(()), runtime))
    assert lock is not None


def test_locks_taken_before_one_that_is_not_free_are_given_back() -> None:
    client = EngineClient(config=Config(acquire_lock_timeout=1))
    parts = sorted([client.part(b"a"), client.part(b"b"), client.part(b"c")])
    locker = client.composer.locker
    assert isinstance(locker, MemoryLocker)
    lock = locker.try_lock(parts[1], lambda: None, lambda: None)
    assert lock is not None
    assert client.final(parts).status == 423
    lock.release()
    assert client.final(parts).status == 201


def test_shielded_steps_are_not_left_half_done() -> None:
    """A cancellation that comes while a member runs waits for the member."""
    done: list[str] = []

    async def member() -> None:
        await anyio.sleep(0.01)
        done.append("member")

    async def main() -> None:
        from tuspy_server.callers import Lane

        with anyio.move_on_after(0.001):
            await LoopCaller().call(Lane.CONTROL, member)
            await anyio.lowlevel.checkpoint()
            done.append("after")

    anyio.run(main)
    assert done == ["member"]
