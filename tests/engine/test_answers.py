"""What holds for every answer, whatever was asked, and what a body may and may not do to an upload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import anyio
import pytest

from tests.engine.client import APPEND, Answer, EngineClient, Runner
from tuspy_server import Composer, Config, Cors, HookEvent, HookResult, Hooks, MemoryLocker, MemoryStore, Response
from tuspy_server.callers import LoopCaller
from tuspy_server.errors import StoreFailed, StoreFull, StoreUnavailable
from tuspy_server.lockers.memory import MemoryLock
from tuspy_server.models import UploadInfo
from tuspy_server.runtime import Runtime
from tuspy_server.stores.memory import MemoryWriter


class Moody(MemoryStore):
    """Fails at `open` with what it was given."""

    error: Exception | None = None

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MemoryWriter:
        if self.error is not None:
            raise self.error
        return super().open(info, fence=fence)


def test_every_answer_names_the_version_and_is_kept_by_no_cache(runner: Runner) -> None:
    store = Moody()
    client = EngineClient(store, Config(max_size=100), runner=runner)
    upload, other = client.create(10).id, client.create(10).id
    answers = [client.create(5), client.head(upload), client.append(upload, 0, b"hello"), client.delete(other)]
    answers += [client.head("nope"), client.head(other), client.append(upload, 0, b"x"), client.create(101)]
    answers += [client.request("PUT", upload), client.request("POST", "", version="0.1"), client.create(5, b"123456")]
    answers += [client.request("PATCH", upload, {"Upload-Offset": "5"}, b"x"), client.request("OPTIONS")]
    for error in (StoreFailed(), StoreUnavailable(), StoreFull(), RuntimeError()):
        store.error = error
        answers.append(client.append(upload, 5, b"x"))
    statuses = [answer.status for answer in answers]
    assert statuses == [201, 200, 204, 204, 404, 410, 409, 413, 405, 412, 413, 415, 200, 500, 503, 507, 500]
    assert {answer["tus-resumable"] for answer in answers} == {"1.0.0"}
    assert {
        answer["cache-control"] for answer in answers if answer.status != 200 or "upload-offset" in answer.headers
    } == {"no-store"}


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "GET", "DELETE"])
def test_an_unknown_upload_is_404_for_every_method(client: EngineClient, method: str) -> None:
    answer = client.request(method, "f" * 32, {**APPEND, "Upload-Offset": "0"})
    assert (answer.status, "upload-offset" in answer.headers) == (404, False)


def test_an_empty_upload_is_finished_once_and_never_swept(runner: Runner) -> None:
    told: list[str] = []
    hooks = Hooks(post_finish=lambda event: told.append(event.upload.id))
    client = EngineClient(config=Config(expires_after=60), hooks=hooks, runner=runner)
    upload = client.create(0).id
    client.append(upload, 0)
    client.clock.seconds += 1000
    client.sweep()
    assert client.head(upload).offset == 0
    assert client.get(upload).body == b""
    assert told == [upload]


def test_a_vary_of_the_apps_is_added_to() -> None:
    def answer(event: HookEvent) -> HookResult:
        return HookResult(response=Response(status=201, headers=(("Vary", "Accept-Language"),)))

    config = Config(cors=Cors(allow_origins=["https://a.example"]))
    client = EngineClient(config=config, hooks=Hooks(pre_create=answer))
    assert client.create(5, origin="https://a.example")["vary"] == "Accept-Language, Origin"


def test_a_content_coding_is_counted_and_never_undone(client: EngineClient) -> None:
    body = b"\x1f\x8b\x08\x00 no gzip at all"
    upload = client.create(len(body)).id
    answer = client.append(upload, 0, body, content_encoding="gzip")
    assert (answer.status, answer.offset) == (204, len(body))
    assert client.get(upload).body == body


SOURCE = bytes(range(256)) * 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 255, 511, 512])
@pytest.mark.parametrize("known", [True, False])
def test_pieces_of_any_size_make_the_whole(size: int, known: bool) -> None:
    client = EngineClient()
    upload = client.create(len(SOURCE) if known else None).id
    for offset in range(0, len(SOURCE), size):
        piece = SOURCE[offset : offset + size]
        last = {} if known or offset + size < len(SOURCE) else {"upload_length": str(len(SOURCE))}
        assert client.append(upload, offset, piece, **last).offset == offset + len(piece)
        assert client.head(upload).offset == offset + len(piece)
    assert client.head(upload)["upload-length"] == str(len(SOURCE))
    assert client.get(upload).body == SOURCE


def by_tus(client: EngineClient, known: bool, chunked: bool, at_once: bool, body: bytes) -> Answer:
    length = {"Upload-Length": str(len(body))} if known else {"Upload-Defer-Length": "1"}
    size = None if chunked else len(body)
    if at_once:
        return client.request("POST", "", {**APPEND, **length}, body, size=size)
    created = client.request("POST", "", length)
    if created.status != 201:
        return created
    return client.request("PATCH", created.id, {**APPEND, "Upload-Offset": "0"}, body, size=size)


def by_draft(client: EngineClient, known: bool, chunked: bool, at_once: bool, body: bytes) -> Answer:
    version = {"Upload-Draft-Interop-Version": "8"}
    length = {"Upload-Length": str(len(body))} if known else {}
    size = None if chunked else len(body)
    if at_once:
        return client.request("POST", "", {**version, **length, "Upload-Complete": "?1"}, body, size=size, version=None)
    created = client.request("POST", "", {**version, **length, "Upload-Complete": "?0"}, version=None)
    if created.status != 201:
        return created
    fields = {**version, "Content-Type": "application/partial-upload", "Upload-Offset": "0", "Upload-Complete": "?1"}
    return client.request("PATCH", created.id, fields, body, size=size, version=None)


class Counting(MemoryStore):
    """Counts the bytes it was given."""

    given = 0

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MemoryWriter:
        writer, store = super().open(info, fence=fence), self
        write = writer.write

        def counted(chunks: Sequence[bytes], /) -> object:
            store.given += sum(map(len, chunks))
            return write(chunks)

        writer.write = counted  # type: ignore[method-assign,assignment]
        return writer


@pytest.mark.parametrize("send", [by_tus, by_draft], ids=["tus", "draft"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "deferred"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("at_once", [True, False], ids=["creation", "append"])
def test_no_way_leads_past_the_maximum(
    send: Callable[[EngineClient, bool, bool, bool, bytes], Answer], known: bool, chunked: bool, at_once: bool
) -> None:
    store = Counting()
    client = EngineClient(store, Config(max_size=10))
    assert send(client, known, chunked, at_once, b"x" * 11).status == 413
    assert store.given <= 10
    assert send(client, known, chunked, at_once, b"x" * 10).status in (200, 201, 204)


class BadClose(MemoryStore):
    """Has no room for what was written when its writer is closed."""

    def open(self, info: UploadInfo, /, *, fence: int | None) -> MemoryWriter:
        writer = super().open(info, fence=fence)

        def close() -> int:
            raise StoreFull

        writer.write = lambda chunks: None  # type: ignore[method-assign]
        writer.close = close  # type: ignore[method-assign]
        return writer


def test_bytes_that_closing_lost_are_never_acknowledged(runner: Runner) -> None:
    client = EngineClient(BadClose(), runner=runner)
    upload = client.create(5).id
    answer = client.append(upload, 0, b"hello")
    assert (answer.status, "upload-offset" in answer.headers) == (507, False)
    assert client.head(upload).offset == 0
    created = client.create(5, b"hello")
    assert (created.status, created.offset) == (201, 0)


class Eager(MemoryLocker):
    """Somebody else wants the upload from the very moment it is taken."""

    def try_lock(
        self, upload_id: str, on_release_requested: Callable[[], None], on_lost: Callable[[], None], /
    ) -> MemoryLock | None:
        lock = super().try_lock(upload_id, on_release_requested, on_lost)
        on_release_requested()
        return lock


class Patient:
    """A body that would wait for ever unless it was told before not to."""

    def __init__(self) -> None:
        self.reason: Exception | None = None

    async def read(self) -> Sequence[bytes] | None:
        assert self.reason is not None, "read although another request wants the upload"
        raise self.reason

    def take(self) -> Sequence[bytes]:
        return ()

    def interrupt(self, reason: Exception) -> None:
        self.reason = reason


def test_a_wish_that_comes_before_the_first_byte_counts(runner: Runner) -> None:
    store = MemoryStore()
    upload = EngineClient(store).create(5).id
    client = EngineClient(Composer(store, Eager()), runner=runner)
    answer = client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, Patient())
    assert (answer.status, answer["retry-after"]) == (423, "1")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_digest_is_computed_on_the_loop(backend: str) -> None:
    threads: set[int] = set()

    class Watched:
        def update(self, data: bytes, /) -> None:
            threads.add(threading.get_ident())

    async def main() -> None:
        store = MemoryStore()
        runtime = Runtime(Composer(store), LoopCaller())
        info = await runtime.create(UploadInfo(id="a", length=5))
        await runtime.write(await runtime.stage(info, None), [b"hello"], [Watched()])

    anyio.run(main, backend=backend)
    assert len(threads) == 1
    assert threading.get_ident() not in threads
