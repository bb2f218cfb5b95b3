"""Final uploads: made of parts, at once or when the last part arrives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuspy_server.engine.creating import new_record
from tuspy_server.engine.exchange import After, Exchange, Reply
from tuspy_server.engine.finishing import Backoff, deliver, finish, settled
from tuspy_server.engine.hooking import decide, inform
from tuspy_server.engine.locking import Locked
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import TusError, UploadExists, UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.intents import Create
from tuspy_server.protocol.merge import merge

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime

log = logging.getLogger("tuspy_server")

_MOST_ATTEMPTS = 100  # finals of the same parts and metadata, each terminated before the next was asked for


class _NameUsedUp(Exception):
    """The earlier final upload of this name was removed; a name is never used again."""


async def create_final(steps: Steps, exchange: Exchange, intent: Create) -> Reply:
    limits = rules.limits_for(steps.config, await steps.max_size(exchange))
    for part_id in dict.fromkeys(intent.parts):
        await steps.admit(exchange, part_id)
    record = replace(new_record(steps, exchange, intent, limits), id=_final_id(steps, exchange, intent, 0))
    record, response = await decide(exchange, "pre_create", record)
    chosen = record.id != _final_id(steps, exchange, intent, 0)
    for attempt in range(1 if chosen else _MOST_ATTEMPTS):
        if not chosen:
            record = replace(record, id=_final_id(steps, exchange, intent, attempt))
        try:
            info, after = await _make_final(steps, exchange, intent, record)
            break
        except _NameUsedUp:
            continue
    else:
        raise UploadGone
    created = exchange.dialect.created(exchange.call, info, exchange.url_of(info.id), exchange.runtime.now())
    return Reply(response=merge(merge(created, response), info.response), after=after)


def _final_id(steps: Steps, exchange: Exchange, intent: Create, attempt: int) -> str:
    return rules.final_id(intent, exchange.request.principal, attempt)


async def _make_final(
    steps: Steps, exchange: Exchange, intent: Create, record: UploadInfo
) -> tuple[UploadInfo, After | None]:
    """Create and assemble a final upload, or carry on with the one that the same request made before."""
    runtime = exchange.runtime
    async with steps.locked(exchange, record.id, *intent.parts) as held:
        info = await _earlier_final(steps, exchange, intent, record.id)
        if info is None:
            parts = await parts_of(exchange, intent.parts)
            for part in parts:
                rules.check_principal(part, exchange.request.principal)
            length = rules.plan_concat(parts, record.limits, runtime.now(), may_wait=True)
            info = exchange.upload = await runtime.create(replace(record, length=length))
            await inform(exchange, "post_create", info)
        if rules.is_unassembled(info):
            parts = await parts_of(exchange, intent.parts)
            await wait_for_parts(exchange, info, parts)
            info = await assemble(exchange, info, parts, held, steps.backoff)
        info = await steps.ended(exchange, info, held)
        return info, deliver(exchange, info, held)


async def _earlier_final(steps: Steps, exchange: Exchange, intent: Create, upload_id: str) -> UploadInfo | None:
    try:
        info = await steps.load(exchange, upload_id)
    except UploadGone as exc:
        raise _NameUsedUp from exc
    except UploadNotFound:
        return None
    if not rules.is_same_final(intent, info, exchange.request.principal):
        raise UploadExists
    return info


async def parts_of(exchange: Exchange, part_ids: Sequence[str]) -> list[UploadInfo]:
    """The records of the parts in the order listed; one listed twice is read once."""
    found = {part_id: settled(exchange, await exchange.runtime.get(part_id)) for part_id in dict.fromkeys(part_ids)}
    return [found[part_id] for part_id in part_ids]


async def wait_for_parts(exchange: Exchange, info: UploadInfo, parts: Sequence[UploadInfo]) -> None:
    """Note in each unfinished part which final waits for it. Requires the parts' locks."""
    for part in dict.fromkeys(part.id for part in parts if not rules.is_complete(part)):
        record = await exchange.runtime.get(part)
        if info.id not in record.finals:
            await exchange.runtime.update(replace(record, finals=(*record.finals, info.id)))


async def assemble(
    exchange: Exchange, info: UploadInfo, parts: Sequence[UploadInfo], held: Locked, backoff: Backoff
) -> UploadInfo:
    """Fill a final upload from its finished parts and finish it. Requires the locks of all. Repeatable.

    While a part is unfinished the upload stays as it is, with its length as soon as it can be computed.
    """
    if not all(rules.is_complete(part) for part in parts):
        return await _note_length(exchange, info, parts)
    backoff.check(info.id, exchange.runtime.monotonic())
    held.check()
    length = sum(part.length or 0 for part in parts)
    assembled = await exchange.runtime.concat(replace(info, length=length), parts)
    held.check()
    info = await exchange.runtime.update(replace(assembled, length=length, state=State.FINISHING))
    exchange.upload = info
    return await finish(exchange, info, held, backoff)


async def _note_length(exchange: Exchange, info: UploadInfo, parts: Sequence[UploadInfo]) -> UploadInfo:
    if info.length is not None or any(part.length is None for part in parts):
        return info
    return await exchange.runtime.update(replace(info, length=sum(part.length or 0 for part in parts)))


def assembling(steps: Steps, exchange: Exchange, info: UploadInfo) -> After | None:
    """Assembling the finals that waited for this part, once its own lock is free. A part owes no hook anything."""
    if not info.finals or not rules.is_complete(info):
        return None

    async def after(runtime: Runtime) -> None:
        for final_id in info.finals:
            try:
                await _assemble_waiting(replace(exchange, runtime=runtime), final_id, steps.backoff)
            except TusError as exc:  # the next HEAD on the final tries again
                log.warning("assembling a final upload failed: %s", exc.code)

    return after


async def _assemble_waiting(exchange: Exchange, final_id: str, backoff: Backoff) -> None:
    """After a part was finished: assemble the final that waits for it, if it was the last one.

    Looked at without locks first: to ask for theirs would interrupt the parts that are still being uploaded.
    """
    info = await exchange.runtime.get(final_id)
    if not rules.is_unassembled(info) or not all(map(rules.is_complete, await parts_of(exchange, info.parts))):
        return
    async with Locked(
        exchange.runtime, (final_id, *info.parts), exchange.body, exchange.config.acquire_lock_timeout
    ) as held:
        info = await exchange.runtime.get(final_id)
        if rules.is_unassembled(info) and not rules.is_expired(info, exchange.runtime.now()):
            info = await assemble(exchange, info, await parts_of(exchange, info.parts), held, backoff)
            after = deliver(exchange, info, held)
            if after is not None:
                await after(exchange.runtime)
