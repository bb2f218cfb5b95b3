"""Stores, lockers and hooks of either colour: both type checkers accept them as they are written here, the engine
runs them, and a forgotten method is told at construction with a sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.engine.client import EngineClient
from tuspy_server import Composer, Hooks, MemoryLocker, MemoryStore, Request, Response
from tuspy_server.errors import StoreFailed
from tuspy_server.interfaces import (
    Concater,
    DataStore,
    Expirer,
    LengthDeferrer,
    Lock,
    Locker,
    Reader,
    StagedWriter,
    Stager,
    Terminater,
    Writer,
)
from tuspy_server.lockers.etcd import EtcdLocker
from tuspy_server.models import HookEvent, HookResult, UploadInfo


class BlockingWriter:
    """Both kinds of writer, with `def`."""

    def __init__(self, inner: StagedWriter | Writer) -> None:
        self._inner = inner

    def write(self, chunks: Sequence[bytes], /) -> None:
        self._inner.write(chunks)

    def close(self) -> int:
        offset = self._inner.close()
        assert isinstance(offset, int)
        return offset

    def discard(self) -> None:
        assert isinstance(self._inner, StagedWriter)
        self._inner.discard()


class AsyncWriter:
    """Both kinds of writer, with `async def`."""

    def __init__(self, inner: BlockingWriter) -> None:
        self._inner = inner

    async def write(self, chunks: Sequence[bytes], /) -> None:
        self._inner.write(chunks)

    async def close(self) -> int:
        return self._inner.close()

    async def discard(self) -> None:
        self._inner.discard()


class BlockingStore:
    """Everything a store can do, with `def`."""

    def __init__(self) -> None:
        self._inner = MemoryStore()

    def create(self, info: UploadInfo, /) -> UploadInfo:
        return self._inner.create(info)

    def get(self, upload_id: str, /) -> UploadInfo:
        return self._inner.get(upload_id)

    def update(self, info: UploadInfo, /) -> UploadInfo:
        return self._inner.update(info)

    def open(self, info: UploadInfo, /, *, fence: int | None) -> BlockingWriter:
        return BlockingWriter(self._inner.open(info, fence=fence))

    def finish(self, info: UploadInfo, /) -> None:
        self._inner.finish(info)

    def stage(self, info: UploadInfo, /, *, fence: int | None) -> BlockingWriter:
        return BlockingWriter(self._inner.stage(info, fence=fence))

    def terminate(self, info: UploadInfo, /) -> None:
        self._inner.terminate(info)

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        return self._inner.concat(info, parts)

    def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        return self._inner.declare_length(info, length)

    def expired(self, now: datetime, /) -> Iterator[UploadInfo]:
        return iter(list(self._inner.expired(now)))

    def read(self, info: UploadInfo, start: int, stop: int, /) -> Iterator[bytes]:
        return self._inner.read(info, start, stop)


class AsyncStore:
    """Everything a store can do, with `async def`."""

    def __init__(self) -> None:
        self._inner = BlockingStore()

    async def create(self, info: UploadInfo, /) -> UploadInfo:
        return self._inner.create(info)

    async def get(self, upload_id: str, /) -> UploadInfo:
        return self._inner.get(upload_id)

    async def update(self, info: UploadInfo, /) -> UploadInfo:
        return self._inner.update(info)

    async def open(self, info: UploadInfo, /, *, fence: int | None) -> AsyncWriter:
        return AsyncWriter(self._inner.open(info, fence=fence))

    async def finish(self, info: UploadInfo, /) -> None:
        self._inner.finish(info)

    async def stage(self, info: UploadInfo, /, *, fence: int | None) -> AsyncWriter:
        return AsyncWriter(self._inner.stage(info, fence=fence))

    async def terminate(self, info: UploadInfo, /) -> None:
        self._inner.terminate(info)

    async def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        return self._inner.concat(info, parts)

    async def declare_length(self, info: UploadInfo, length: int, /) -> UploadInfo:
        return self._inner.declare_length(info, length)

    async def expired(self, now: datetime, /) -> AsyncIterator[UploadInfo]:
        for info in self._inner.expired(now):
            yield info

    async def read(self, info: UploadInfo, start: int, stop: int, /) -> AsyncIterator[bytes]:
        for piece in self._inner.read(info, start, stop):
            yield piece


class BlockingLock:
    def __init__(self, inner: Lock) -> None:
        self._inner = inner

    @property
    def token(self) -> int | None:
        return self._inner.token

    @property
    def alive(self) -> bool:
        return self._inner.alive

    def release(self) -> None:
        self._inner.release()


class AsyncLock:
    def __init__(self, inner: Lock) -> None:
        self._inner = inner

    @property
    def token(self) -> int | None:
        return self._inner.token

    @property
    def alive(self) -> bool:
        return self._inner.alive

    async def release(self) -> None:
        self._inner.release()


class BlockingLocker:
    retry_interval = 0.01

    def __init__(self) -> None:
        self._inner = MemoryLocker()

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> BlockingLock | None:
        lock = self._inner.try_lock(upload_id, on_release_requested, on_lost)
        return None if lock is None else BlockingLock(lock)

    def request_release(self, upload_id: str, /) -> None:
        self._inner.request_release(upload_id)


class AsyncLocker:
    retry_interval = 0.01

    def __init__(self) -> None:
        self._inner = MemoryLocker()

    async def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> AsyncLock | None:
        lock = self._inner.try_lock(upload_id, on_release_requested, on_lost)
        return None if lock is None else AsyncLock(lock)

    async def request_release(self, upload_id: str, /) -> None:
        self._inner.request_release(upload_id)


def decide(event: HookEvent) -> HookResult | None:
    return HookResult(server_metadata={"colour": "def"})


async def decide_later(event: HookEvent) -> HookResult | None:
    return HookResult(server_metadata={"colour": "async def"})


def inform(event: HookEvent) -> None:
    assert event.upload.id


async def inform_later(event: HookEvent) -> None:
    assert event.upload.id


def report(error: Exception, request: Request) -> Response | None:
    return None


async def report_later(error: Exception, request: Request) -> Response | None:
    return None


STORES: list[DataStore] = [BlockingStore(), AsyncStore()]
LOCKERS: list[Locker] = [BlockingLocker(), AsyncLocker()]
LOCKS: list[type[Lock]] = [BlockingLock, AsyncLock]
WRITERS: list[type[StagedWriter]] = [BlockingWriter, AsyncWriter]
STAGERS: list[type[Stager]] = [BlockingStore, AsyncStore]
TERMINATERS: list[type[Terminater]] = [BlockingStore, AsyncStore]
CONCATERS: list[type[Concater]] = [BlockingStore, AsyncStore]
DEFERRERS: list[type[LengthDeferrer]] = [BlockingStore, AsyncStore]
EXPIRERS: list[type[Expirer]] = [BlockingStore, AsyncStore]
READERS: list[type[Reader]] = [BlockingStore, AsyncStore]
HOOKS = [
    Hooks(pre_create=decide, post_finish=inform, on_error=report),
    Hooks(pre_create=decide_later, post_finish=inform_later, on_error=report_later),
    Hooks(pre_create=[decide, decide_later], post_finish=(inform, inform_later), on_error=[report, report_later]),
]


@pytest.mark.parametrize("store_type", [BlockingStore, AsyncStore])
@pytest.mark.parametrize("locker_type", [BlockingLocker, AsyncLocker])
@pytest.mark.parametrize("hooks", HOOKS, ids=["def", "async def", "both"])
def test_every_colour_serves_an_upload(
    store_type: type[BlockingStore | AsyncStore], locker_type: type[BlockingLocker | AsyncLocker], hooks: Hooks
) -> None:
    client = EngineClient(Composer(store_type(), locker_type()), hooks=hooks, runner="asyncio")
    upload = client.create(None, b"hello ").id
    assert client.append(upload, 6, b"world", upload_length="11").offset == 11
    assert client.get(upload).body == b"hello world"
    assert client.delete(upload).status == 204
    assert client.head(upload).status == 410


@pytest.mark.parametrize("method", ["create", "get", "update", "open", "finish"])
def test_a_store_that_forgot_a_method_is_refused_with_a_sentence(method: str) -> None:
    methods = {name: value for name, value in vars(BlockingStore).items() if name != method}
    forgetful: Any = type("Forgetful", (), methods)
    with pytest.raises(TypeError, match=rf"Forgetful is not a store: it lacks {method}\(\)"):
        Composer(forgetful(), MemoryLocker())


@pytest.mark.parametrize("method", ["try_lock", "request_release"])
def test_a_locker_that_forgot_a_method_is_refused_with_a_sentence(method: str) -> None:
    methods = {name: value for name, value in vars(BlockingLocker).items() if name != method}
    forgetful: Any = type("Forgetful", (), methods)
    with pytest.raises(TypeError, match=rf"Forgetful is not a locker: it lacks {method}\(\)"):
        Composer(MemoryStore(), forgetful())


@pytest.mark.parametrize("interval", [None, 0, -1.0])
def test_a_locker_that_does_not_say_how_long_to_wait_is_refused_with_a_sentence(interval: float | None) -> None:
    members = {name: value for name, value in vars(BlockingLocker).items() if name != "retry_interval"}
    hasty: Any = type("Hasty", (), members if interval is None else {**members, "retry_interval": interval})
    with pytest.raises(TypeError, match="Hasty is not a locker: it lacks a positive retry_interval"):
        Composer(MemoryStore(), hasty())


class Unstoppable(BlockingStore):
    fences = False


def test_locks_that_a_holder_may_lose_over_a_store_that_cannot_stop_it_are_refused_with_a_sentence() -> None:
    with pytest.raises(StoreFailed, match="loses its lock of EtcdLocker, and Unstoppable could not stop it"):
        Composer(Unstoppable(), EtcdLocker())
    assert Composer(Unstoppable(), MemoryLocker())
    assert Composer(BlockingStore(), EtcdLocker())


def test_a_store_that_inherits_the_protocol_cannot_be_made_without_a_method() -> None:
    class Forgetful(DataStore):
        pass

    with pytest.raises(TypeError, match=r"abstract method.* .?create"):
        Forgetful()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


def test_a_store_without_a_default_locker_asks_for_one() -> None:
    with pytest.raises(TypeError, match="pass Composer"):
        Composer(BlockingStore())


@pytest.mark.parametrize(
    "checker", [["mypy", "--strict"], ["pyright", "--pythonpath", sys.executable]], ids=lambda c: c[0]
)
def test_both_type_checkers_accept_this_file(checker: list[str]) -> None:
    pytest.importorskip(checker[0], reason=f"{checker[0]} is not installed")
    found = subprocess.run(
        [sys.executable, "-m", *checker, __file__], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
