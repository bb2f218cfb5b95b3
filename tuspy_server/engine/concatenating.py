"""Final uploads: made of parts, at once or when the last part arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuspy_server.engine.exchange import Exchange
from tuspy_server.engine.finishing import Backoff, finish, settled
from tuspy_server.engine.locking import Locked
from tuspy_server.errors import UploadGone
from tuspy_server.models import State, UploadInfo
from tuspy_server.protocol import rules


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


async def assemble_waiting(exchange: Exchange, final_id: str, backoff: Backoff) -> None:
    """After a part was finished: assemble the final that waits for it, if it was the last one."""
    info = await exchange.runtime.get(final_id)
    async with Locked(
        exchange.runtime, (final_id, *info.parts), exchange.body, exchange.config.acquire_lock_timeout
    ) as held:
        info = await exchange.runtime.get(final_id)
        if rules.is_unassembled(info) and not rules.is_expired(info, exchange.runtime.now()):
            await assemble(exchange, info, await _living(exchange, info), held, backoff)


async def _living(exchange: Exchange, info: UploadInfo) -> list[UploadInfo]:
    parts = await parts_of(exchange, info.parts)
    now = exchange.runtime.now()
    if any(rules.is_expired(part, now) for part in parts):
        raise UploadGone("a part of this upload has expired")
    return parts
