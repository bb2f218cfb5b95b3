"""Bytes that wait for their checksum: in memory while they are few, else in side objects that count for nothing."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from tuspy_server.errors import StoreError, StoreFailed
from tuspy_server.stores.s3_buffer import Buffer, new_buffer
from tuspy_server.stores.s3_upload import S3Writer

_log = logging.getLogger(__name__)


class S3StagedWriter:
    """Hands everything to `writer` on close. A crash while closing leaves a prefix of bytes already verified."""

    def __init__(self, writer: S3Writer) -> None:
        self._target = target = writer.target
        self._writer = writer
        self._flight = target.flight()
        self._stage = f"{target.folder}stage-{secrets.token_hex(8)}-"
        self._keys: list[str] = []
        self._buffer: Buffer | None = None
        self._ended = False

    def write(self, chunks: Sequence[bytes], /) -> None:
        if self._ended:
            raise StoreFailed("the writer is closed")
        for chunk in chunks:
            if self._buffer is None:
                self._buffer = new_buffer(self._target.spool)
            self._buffer.add(memoryview(chunk if isinstance(chunk, bytes) else bytes(chunk)))
            if self._buffer.size >= self._target.plan.base:
                self._put_aside(self._buffer)
        if self._flight.failure is not None:
            raise self._flight.failure

    def close(self) -> int:
        """Make the staged bytes part of the upload; the durable offset."""
        if not self._ended:
            self._ended = True
            try:
                self._hand_over()
            finally:
                self._clear()
        return self._writer.close()

    def discard(self) -> None:
        """Drop the staged bytes. Their objects are removed, with the upload at the latest."""
        if not self._ended:
            self._ended = True
            self._clear()

    def _put_aside(self, buffer: Buffer) -> None:
        key = f"{self._stage}{len(self._keys)}"
        self._keys.append(key)
        self._buffer = None

        def put() -> None:
            try:
                self._target.bucket.put(key, buffer.body(), **self._target.side_arguments)
            finally:
                buffer.drop()

        self._flight.launch(buffer.size, put)

    def _hand_over(self) -> None:
        self._flight.wait()
        if self._flight.failure is not None:
            raise self._flight.failure
        for key in self._keys:
            stored = self._target.bucket.get(key)
            if stored is None:
                raise StoreFailed("staged bytes vanished")
            self._writer.write((stored.body,))
        if self._buffer is not None:
            self._writer.write((self._buffer.body().read(),))
        self._writer.close()

    def _clear(self) -> None:
        self._flight.wait()
        if self._buffer is not None:
            self._buffer.drop()
            self._buffer = None
        if not self._keys:
            return
        try:
            self._target.bucket.delete(self._keys)
        except StoreError:
            _log.warning("staged objects could not be deleted", exc_info=True)
