"""The app's own way to an upload's bytes, in both colours."""

from __future__ import annotations

import anyio
import pytest

from tests.engine.client import EngineClient
from tuspy_server import Composer, HookEvent, Hooks, MemoryLocker, MemoryStore
from tuspy_server.errors import NotSupported, UploadNotFinished, UploadNotFound
from tuspy_server.testing import AsyncStore


def test_a_finished_upload_can_be_read_with_for() -> None:
    client = EngineClient()
    upload = client.create(5, b"hello").id
    with client.composer.open_upload_sync(upload) as opened:
        assert opened.info.id == upload
        assert b"".join(opened) == b"hello"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("colour", ["def", "async def"])
def test_a_finished_upload_can_be_read_with_async_for(backend: str, colour: str) -> None:
    store = MemoryStore()
    client = EngineClient(store)
    upload = client.create(5, b"hello").id
    composer = client.composer if colour == "def" else Composer(AsyncStore(store), MemoryLocker())

    async def read() -> bytes:
        async with composer.open_upload(upload) as opened:
            return b"".join([piece async for piece in opened])

    assert anyio.run(read, backend=backend) == b"hello"


def test_a_hook_may_read_the_upload_before_it_is_complete() -> None:
    seen: list[bytes] = []

    def scan(event: HookEvent) -> None:
        with client.composer.open_upload_sync(event.upload.id) as opened:
            seen.append(b"".join(opened))

    client = EngineClient(hooks=Hooks(pre_finish=scan))
    client.create(5, b"hello")
    assert seen == [b"hello"]


def test_what_is_not_there_or_not_finished_says_so() -> None:
    client = EngineClient()
    upload = client.create(10, b"hello").id
    with pytest.raises(UploadNotFinished), client.composer.open_upload_sync(upload):
        pass
    with pytest.raises(UploadNotFound), client.composer.open_upload_sync("nope"):
        pass
    unreadable = Composer(MemoryStore(), reader=None)
    finished = EngineClient(unreadable).create(0).id
    with pytest.raises(NotSupported), unreadable.open_upload_sync(finished):
        pass
