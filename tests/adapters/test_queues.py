"""Queues of what happens to uploads: complete, in order, bounded, and never in a request's way."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tuspy_server import ASGIApp, Config, FileStore, HookEvent, MemoryStore, WSGIApp
from tuspy_server.observability.queues import EventQueue

TUS = {"Tus-Resumable": "1.0.0"}
APPEND = {**TUS, "Content-Type": "application/offset+octet-stream"}
CONFIG = Config(post_receive_interval=0, expires_after=60)


async def whole_life(app: ASGIApp) -> str:
    """An upload created, sent in two requests and removed; its id."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        created = await client.post("/", headers={**TUS, "Upload-Length": "10"})
        location = created.headers["Location"]
        for offset, part in ((0, b"hello"), (5, b"world")):
            answer = await client.patch(location, headers={**APPEND, "Upload-Offset": str(offset)}, content=part)
            assert answer.status_code == 204
        assert (await client.delete(location, headers=TUS)).status_code == 204
    return str(location).rpartition("/")[2]


def whole_life_sync(app: WSGIApp) -> str:
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        created = client.post("/", headers={**TUS, "Upload-Length": "10"})
        location = created.headers["Location"]
        for offset, part in ((0, b"hello"), (5, b"world")):
            answer = client.patch(location, headers={**APPEND, "Upload-Offset": str(offset)}, content=part)
            assert answer.status_code == 204
        assert client.delete(location, headers=TUS).status_code == 204
    return str(location).rpartition("/")[2]


def queues_of(app: ASGIApp | WSGIApp) -> dict[str, EventQueue]:
    return {name: getattr(app, name)() for name in ("created", "progress", "finished", "terminated")}


def check(queues: dict[str, EventQueue], upload: str) -> None:
    found = {name: [(event.upload.id, event.upload.offset) for event in queue] for name, queue in queues.items()}
    assert found == {
        "created": [(upload, 0)],
        "progress": [(upload, 5), (upload, 10)],
        "finished": [(upload, 10)],
        "terminated": [(upload, 10)],
    }


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_queue_tells_of_an_uploads_life(backend: str, tmp_path: Path) -> None:
    app = ASGIApp(FileStore(tmp_path), CONFIG)
    queues = queues_of(app)
    upload = anyio.run(whole_life, app, backend=backend)
    for queue in queues.values():
        queue.close()
    check(queues, upload)


def test_every_queue_tells_of_an_uploads_life_under_wsgi(tmp_path: Path) -> None:
    app = WSGIApp(FileStore(tmp_path), CONFIG)
    queues = queues_of(app)
    upload = whole_life_sync(app)
    for queue in queues.values():
        queue.close()
    check(queues, upload)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_for_waits_for_what_comes(backend: str) -> None:
    app = ASGIApp(MemoryStore(), CONFIG)
    finished = app.finished()
    seen: list[str] = []

    async def consume() -> None:
        async for event in finished:
            seen.append(event.upload.id)

    async def main() -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            upload = await whole_life(app)
            await anyio.wait_all_tasks_blocked()
            finished.close()
        return upload

    assert seen == [anyio.run(main, backend=backend)]


def test_for_waits_in_its_thread_until_the_queue_is_closed() -> None:
    app = WSGIApp(MemoryStore(), CONFIG)
    created = app.created()
    seen: list[HookEvent] = []
    thread = threading.Thread(target=lambda: seen.extend(created))
    thread.start()
    upload = whole_life_sync(app)
    created.close()
    thread.join(10)
    assert [event.upload.id for event in seen] == [upload]


def test_a_full_queue_drops_the_oldest_and_counts_it_and_no_request_waits() -> None:
    app = WSGIApp(MemoryStore(), CONFIG)
    finished = app.finished(maxsize=2)
    uploads = [whole_life_sync(app) for _ in range(5)]
    finished.close()
    assert [event.upload.id for event in finished] == uploads[-2:]
    assert finished.dropped == 3


def test_a_queue_nobody_refers_to_is_forgotten() -> None:
    app = WSGIApp(MemoryStore(), CONFIG)
    app.finished()
    gc.collect()
    whole_life_sync(app)
    kept: Any = app._queues
    assert not any(kept._queues.values())


@pytest.mark.parametrize("make", [ASGIApp, WSGIApp])
def test_without_a_queue_or_an_observer_nobody_is_told(make: Callable[..., ASGIApp | WSGIApp]) -> None:
    app = make(MemoryStore(), CONFIG)
    assert app._runtime.observer is None
    assert type(app.engine).__name__ == "Engine"


def test_parts_of_a_concatenation_are_not_told_as_finished() -> None:
    app = WSGIApp(MemoryStore())
    finished = app.finished()
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        fields = {**APPEND, "Upload-Length": "5", "Upload-Concat": "partial"}
        part = client.post("/", headers=fields, content=b"hello").headers["Location"]
        final = client.post("/", headers={**TUS, "Upload-Concat": f"final;{part}"}).headers["Location"]
    finished.close()
    assert [event.upload.id for event in finished] == [final.rpartition("/")[2]]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_that_looks_in_now_and_then_leaves_nothing_behind(backend: str) -> None:
    queue = EventQueue()

    async def look_in() -> None:
        for _ in range(100):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(queue)

    anyio.run(look_in, backend=backend)
    gc.collect()
    assert sum(isinstance(each, anyio.Event) for each in gc.get_objects()) < 50
