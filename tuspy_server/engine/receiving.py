"""From a body into a store: batches in, a durable offset out, and nothing that arrived is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from tuspy_server.engine.body import movable
from tuspy_server.engine.exchange import Exchange
from tuspy_server.engine.hooking import inform
from tuspy_server.engine.informing import PROGRESS_INTERVAL, tell_progress
from tuspy_server.engine.locking import Locked
from tuspy_server.engine.pacing import pace_for
from tuspy_server.errors import ChecksumMismatch, LockLost, StoreError, TusError, UploadTooLarge
from tuspy_server.interfaces import StagedWriter, Writer
from tuspy_server.models import Checksum, UploadInfo, changed
from tuspy_server.protocol import rules
from tuspy_server.protocol.checksums import Hasher, hasher, matches
from tuspy_server.protocol.intents import Append, Create


async def receive(
    exchange: Exchange, info: UploadInfo, held: Locked, intent: Create | Append
) -> tuple[UploadInfo, TusError | None]:
    """Append the exchange's body to the upload; returns it with its new offset, and what ended the body early.

    With a checksum all bytes count or none: an interrupted or mismatching body is discarded.
    Raises LockLost, after which nothing was written, closed or discarded any more.
    """
    runtime = exchange.runtime
    if intent.checksum is None:
        writer = await runtime.open(info, held.fence)
        try:
            return await _append(exchange, info, held, intent, writer)
        finally:
            if held.lost:  # it may not be closed any more, and idle worker threads still refer to it
                await runtime.abandon(writer)
    staged = await runtime.stage(info, held.fence)
    try:
        return await _append_staged(exchange, info, held, intent, intent.checksum, staged)
    finally:
        if held.lost:
            await runtime.abandon(staged)


async def _append(
    exchange: Exchange, info: UploadInfo, held: Locked, intent: Create | Append, writer: Writer
) -> tuple[UploadInfo, TusError | None]:
    poured = _Pour(exchange, info, held, intent, writer)
    try:
        failure = await poured.run()
    except BaseException:
        # Cancelled in the middle of the body: hand over what has arrived, then let go. Trouble with that is no
        # answer to anybody any more, and must not take the place of the cancellation.
        with contextlib.suppress(TusError):
            await poured.rescue()
            await _close(exchange, writer, held)
        raise
    offset, closing_failure = await _close(exchange, writer, held)
    return changed(info, offset=info.offset if offset is None else offset), failure or closing_failure


async def _close(exchange: Exchange, writer: Writer, held: Locked) -> tuple[int | None, TusError | None]:
    held.check()
    try:
        offset = await exchange.runtime.close(writer)
    except StoreError as exc:
        return None, exc
    # The process may have been paused in `close` until another owner had come and gone.
    held.check()
    return offset, None


async def _append_staged(
    exchange: Exchange,
    info: UploadInfo,
    held: Locked,
    intent: Create | Append,
    checksum: Checksum,
    writer: StagedWriter,
) -> tuple[UploadInfo, TusError | None]:
    runtime = exchange.runtime
    computed = hasher(checksum.algorithm)
    try:
        failure = await _Pour(exchange, info, held, intent, writer, computed).run()
    except BaseException:
        with contextlib.suppress(TusError):
            held.check()
            await runtime.discard(writer)
        raise
    held.check()
    if failure is None and not matches(checksum, computed):
        failure = ChecksumMismatch()
    if failure is not None:
        await runtime.discard(writer)
        return info, failure
    offset = await runtime.close(writer)
    held.check()
    return changed(info, offset=offset), None


class _Pour:
    """One body on its way into one writer."""

    def __init__(
        self,
        exchange: Exchange,
        info: UploadInfo,
        held: Locked,
        intent: Create | Append,
        writer: Writer,
        computed: Hasher | None = None,
    ) -> None:
        self._exchange = exchange
        self._info = info
        self._held = held
        self._writer = writer
        self._hashers = () if computed is None else (computed,)
        self._intent = intent
        self._room = rules.room(info, limited=intent.limited)
        self._received = 0
        self._pace = pace_for(exchange.config, info, exchange.runtime)
        self._watched = bool(exchange.hooks.of("post_receive")) or exchange.runtime.observer is not None
        self._announces = intent.announce and exchange.interim is not None and hasattr(writer, "flush")
        if self._watched or self._announces:
            now = exchange.runtime.monotonic()
            self._next_report = now + exchange.config.post_receive_interval
            self._next_progress = now + PROGRESS_INTERVAL

    async def run(self) -> TusError | None:
        """Write until the body ends; returns what ended it early."""
        try:
            await self._move()
            while (chunks := await self._exchange.body.read()) is not None:
                if self._pace is not None:
                    self._pace.heard(sum(map(len, chunks)))
                await self._write(chunks)
                await self._report()
        except LockLost:
            raise
        except TusError as exc:
            return exc
        return None

    async def _move(self) -> None:
        """Let the kernel do it, where body and writer can and nobody else wants the bytes."""
        source = movable(self._exchange.body)
        if source is None or self._hashers or not hasattr(self._writer, "moved"):
            return
        held = source.begin_moves()
        try:
            if held:
                await self._write([held])
            while limit := await source.await_bytes():
                self._held.check()
                size = await self._exchange.runtime.move(self._writer, source, limit)
                self._received += size
                if self._pace is not None:
                    self._pace.heard(size)
                await self._report()
        finally:
            source.end_moves()

    async def rescue(self) -> None:
        """Write what the body gathered before its reader was cancelled, as far as the store takes it."""
        chunks = self._exchange.body.take()
        if chunks:
            with contextlib.suppress(StoreError, UploadTooLarge):
                await self._write(chunks)

    async def _write(self, chunks: Sequence[bytes]) -> None:
        fitting = chunks if self._room is None else _fit(chunks, self._room - self._received)
        size = sum(map(len, fitting))
        if size:
            self._held.check()
            await self._exchange.runtime.write(self._writer, fitting, self._hashers)
            self._received += size
        if fitting is not chunks:
            raise rules.excess(self._info, limited=self._intent.limited)

    async def _report(self) -> None:
        if self._pace is not None:
            self._pace.check()
        if self._announces:
            await self._announce_progress()
        if not self._watched or self._exchange.runtime.monotonic() < self._next_report:
            return
        seen = replace(self._info, offset=self._info.offset + self._received)
        await inform(self._exchange, "post_receive", seen)
        self._next_report = self._exchange.runtime.monotonic() + self._exchange.config.post_receive_interval

    async def _announce_progress(self) -> None:
        """Tell what is durable; a writer that cannot make it so before its end announces nothing."""
        now = self._exchange.runtime.monotonic()
        if now >= self._next_progress:
            self._held.check()
            await tell_progress(self._exchange, self._intent, await self._exchange.runtime.flush(self._writer))
            self._next_progress = now + PROGRESS_INTERVAL


def _fit(chunks: Sequence[bytes], room: int) -> Sequence[bytes]:
    """The prefix of a batch that fits; the very same object if all of it does."""
    if sum(map(len, chunks)) <= room:
        return chunks
    fitting: list[bytes] = []
    for chunk in chunks:
        if room:
            fitting.append(chunk[:room])
            room -= len(fitting[-1])
    return fitting
