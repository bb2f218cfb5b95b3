"""Reading a finished upload from the app's own code, whatever store it lies in: see Composer.open_upload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from tuspy_server.callers import InlineCaller, LoopCaller, run_sync
from tuspy_server.composer import Composer
from tuspy_server.errors import NotSupported, UploadNotFinished
from tuspy_server.models import UploadInfo
from tuspy_server.runtime import Runtime


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A finished upload: its record, and its bytes as pieces of any size, once."""

    info: UploadInfo
    _pieces: Iterator[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


@dataclass(frozen=True, slots=True)
class AsyncOpenUpload:
    """As OpenUpload, for `async for`."""

    info: UploadInfo
    _pieces: AsyncIterator[bytes]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


@contextmanager
def opened(composer: Composer, upload_id: str) -> Iterator[OpenUpload]:
    runtime = Runtime(composer, InlineCaller())
    info = run_sync(_finished(runtime, upload_id))
    pieces = _reader(composer, info)

    def read() -> Iterator[bytes]:
        while (piece := run_sync(runtime.next_piece(pieces))) is not None:
            yield piece

    try:
        yield OpenUpload(info, read())
    finally:
        run_sync(runtime.drop(pieces))


@asynccontextmanager
async def opened_async(composer: Composer, upload_id: str) -> AsyncIterator[AsyncOpenUpload]:
    runtime = Runtime(composer, LoopCaller())
    info = await _finished(runtime, upload_id)
    pieces = _reader(composer, info)

    async def read() -> AsyncIterator[bytes]:
        while (piece := await runtime.next_piece(pieces)) is not None:
            yield piece

    try:
        yield AsyncOpenUpload(info, read())
    finally:
        await runtime.drop(pieces)


async def _finished(runtime: Runtime, upload_id: str) -> UploadInfo:
    info = await runtime.get(upload_id)
    if not info.is_full:
        raise UploadNotFinished("the upload is not finished")
    return info


def _reader(composer: Composer, info: UploadInfo) -> Iterator[bytes] | AsyncIterator[bytes]:
    if composer.reader is None:
        raise NotSupported("the store cannot be read from")
    return composer.reader.read(info, 0, info.offset)
