"""The end of an upload, so ordered that a crash at any step is made good by the next request.

Last byte durable -> FINISHING -> store.finish -> pre_finish -> COMPLETE with the answer and what is still owed
-> answer -> post_finish -> nothing owed. Steps that nobody could observe are left out: without finish hooks, on
a store whose `finish` does nothing, a tus upload is complete when its offset is its length.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tuspy_server.engine.digesting import verify_whole, with_wanted_digest
from tuspy_server.engine.exchange import After, Exchange
from tuspy_server.engine.hooking import decide, inform, tell
from tuspy_server.engine.locking import Locked
from tuspy_server.errors import RejectUpload, StoreError, SyncFailed, TusError, UploadLocked
from tuspy_server.models import Kind, Response, State, StoredResponse, UploadInfo, changed
from tuspy_server.protocol import rules

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime

LONGEST_BACKOFF = 60.0
LARGEST_KEPT_ANSWER = 64 * 1024  # bytes of fields and body


class Backoff:
    """When the end of an upload may be tried again after it failed. Per process; a few uploads at most."""

    def __init__(self) -> None:
        self._waits: dict[str, tuple[float, float]] = {}

    def check(self, upload_id: str, now: float) -> None:
        """Raise UploadLocked with the time to wait while it is too early. `now` is monotonic."""
        until, _ = self._waits.get(upload_id, (0.0, 0.0))
        if now < until:
            raise UploadLocked("the upload is being finished", retry_after=int(until - now) + 1)

    def failed(self, upload_id: str, now: float) -> None:
        _, delay = self._waits.get(upload_id, (0.0, 0.5))
        delay = min(2 * delay, LONGEST_BACKOFF)
        self._waits[upload_id] = (now + delay, delay)

    def succeeded(self, upload_id: str) -> None:
        self._waits.pop(upload_id, None)


def settled(exchange: Exchange, info: UploadInfo) -> UploadInfo:
    """The record as a client should see it: COMPLETE where completion needs no step of ours."""
    if info.state is State.OPEN and rules.is_finishing(info) and not _has_steps(exchange, info):
        return changed(info, state=State.COMPLETE)
    return info


async def finish(exchange: Exchange, info: UploadInfo, held: Locked, backoff: Backoff) -> UploadInfo:
    """Carry an upload whose bytes are all durable to COMPLETE. Requires its lock. Repeatable.

    Raises what the store or `pre_finish` raised: a refusal and a failed sync leave it FAILED, anything else
    FINISHING, for a later request or the sweep to try again.
    """
    if not _has_steps(exchange, info):
        info = changed(info, state=State.COMPLETE)
        tell(exchange, "post_finish", info)
        return info
    runtime = exchange.runtime
    backoff.check(info.id, runtime.monotonic())
    try:
        finished = await _finish(exchange, info, held)
    except Exception:
        backoff.failed(info.id, runtime.monotonic())
        raise
    backoff.succeeded(info.id)
    tell(exchange, "post_finish", finished)
    return finished


async def _finish(exchange: Exchange, info: UploadInfo, held: Locked) -> UploadInfo:
    runtime = exchange.runtime
    if info.state is State.OPEN and (_hook_types(exchange, info) or not rules.ends_by_length(info)):
        held.check()
        info = await runtime.update(replace(info, state=State.FINISHING))
        exchange.upload = info
    held.check()
    try:
        await runtime.finish(info)
        await verify_whole(exchange, info)
        response = await with_wanted_digest(exchange, info, await _answer(exchange, info))
    except SyncFailed as exc:
        held.check()
        with contextlib.suppress(StoreError):  # the store may have said so in the record before we could
            exchange.upload = await fail(exchange, info, exc)
        raise
    except RejectUpload as exc:
        held.check()
        exchange.upload = await fail(exchange, info, exc)
        raise
    owed = tuple(name for name in _hook_types(exchange, info) if name == "post_finish")
    held.check()
    record = await runtime.update(replace(info, state=State.COMPLETE, response=kept(response), undelivered=owed))
    return changed(record, response=response)


async def _answer(exchange: Exchange, info: UploadInfo) -> StoredResponse | None:
    """What `pre_finish` wants answered; an answer already stored is not asked for again."""
    if "pre_finish" not in _hook_types(exchange, info):
        return None
    _, response = await decide(exchange, "pre_finish", info)
    return None if response is None else stored(response)


async def fail(exchange: Exchange, info: UploadInfo, error: TusError) -> UploadInfo:
    """Make a failure final. The record then lives as long as a tombstone, and the sweep frees the bytes."""
    response = None
    if isinstance(error, RejectUpload):
        response = kept(
            StoredResponse(status=error.answer_status, headers=error.answer_headers, body=error.answer_body or b"")
        )
    expires = exchange.runtime.now() + timedelta(seconds=exchange.config.tombstone_period)
    return await exchange.runtime.update(
        replace(
            info, state=State.FAILED, response=response, expires=expires, limits=replace(info.limits, sliding=False)
        )
    )


def deliver(exchange: Exchange, info: UploadInfo, held: Locked) -> After | None:
    """What is to be done once the answer is out, under the lock until then; None if nothing is owed."""
    if not info.undelivered:
        return None
    kept = held.detach()

    async def after(runtime: Runtime) -> None:
        async with kept:
            await _deliver(replace(exchange, runtime=runtime), info, kept)

    return after


async def _deliver(exchange: Exchange, info: UploadInfo, held: Locked) -> None:
    for hook_type in info.undelivered:
        await inform(exchange, hook_type, info)
    held.check()
    # A hook that raised was told all the same; only a crash before this line makes it owed again.
    await exchange.runtime.update(replace(info, response=kept(info.response), undelivered=()))


def stored(response: Response) -> StoredResponse:
    return StoredResponse(status=response.status, headers=response.headers, body=response.body)


def kept(response: StoredResponse | None) -> StoredResponse | None:
    """As much of an answer as is kept to be given again: one that is too large keeps its status, and its fields
    where those fit."""
    if response is None:
        return None
    fields = sum(len(name) + len(value) for name, value in response.headers)
    if fields > LARGEST_KEPT_ANSWER:
        return replace(response, headers=(), body=b"")
    return response if fields + len(response.body) <= LARGEST_KEPT_ANSWER else replace(response, body=b"")


def _hook_types(exchange: Exchange, info: UploadInfo) -> tuple[str, ...]:
    """The finish hooks this upload has; parts have none (tus 1.0.0: no processing of their own)."""
    if info.kind is Kind.PARTIAL:
        return ()
    return tuple(name for name in ("pre_finish", "post_finish") if exchange.hooks.of(name))


def _has_steps(exchange: Exchange, info: UploadInfo) -> bool:
    if info.state is State.FINISHING:  # so says its record, which hooks wrote that may be no more
        return True
    composer = exchange.runtime.composer
    return composer.finishes or not rules.ends_by_length(info) or bool(_hook_types(exchange, info))
