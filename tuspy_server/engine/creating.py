"""A new upload, with or without its first bytes."""

from __future__ import annotations

import secrets

from tuspy_server.engine.body import Buffered
from tuspy_server.engine.exchange import Exchange, Reply
from tuspy_server.engine.finishing import deliver
from tuspy_server.engine.hooking import decide, inform
from tuspy_server.engine.locking import Locked, unlocked
from tuspy_server.engine.receiving import receive
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import BodyTooLarge, ChecksumMismatch, StopUpload, SyncFailed, TusError
from tuspy_server.models import Limits, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.intents import Create
from tuspy_server.protocol.merge import merge


async def create(steps: Steps, exchange: Exchange, intent: Create) -> Reply:
    limits = rules.limits_for(steps.config, await steps.max_size(exchange))
    rules.check_create(intent, limits)
    record = new_record(steps, exchange, intent, limits)
    info, response = await decide(exchange, "pre_create", record)
    async with _reserved(steps, exchange, intent, info, is_own=info.id == record.id) as held:
        info = exchange.upload = await exchange.runtime.create(info)
        await inform(exchange, "post_create", info)
        failure: TusError | None = None
        if intent.content.present:
            info, failure = await receive(exchange, info, held, intent.checksum)
            exchange.upload = info
        if isinstance(failure, ChecksumMismatch | BodyTooLarge):
            await steps.remove(exchange, info, held)
            exchange.upload = None
            raise failure
        info = await steps.conclude(exchange, intent, info, held, failure)
        if isinstance(failure, StopUpload | SyncFailed):
            raise failure
        after = deliver(exchange, info, held)
    created = exchange.dialect.created(exchange.call, info, exchange.url_of(info.id), exchange.runtime.now())
    return Reply(response=merge(merge(created, response), info.response), after=after, failed=failure is not None)


def new_record(steps: Steps, exchange: Exchange, intent: Create, limits: Limits) -> UploadInfo:
    now = exchange.runtime.now()
    new_id = steps.config.new_id
    return UploadInfo(
        id=secrets.token_hex(16) if new_id is None else new_id(exchange.request),
        length=intent.length,
        kind=intent.kind,
        metadata=intent.metadata,
        raw_metadata=intent.raw_metadata,
        raw_concat=intent.raw_concat,
        parts=intent.parts,
        protocol=intent.protocol,
        created=now,
        expires=rules.expiry(limits, now),
        limits=limits,
        principal=exchange.request.principal,
        origin=intent.origin,
    )


def _reserved(steps: Steps, exchange: Exchange, intent: Create, info: UploadInfo, *, is_own: bool) -> Locked:
    """The lock on a new upload. None is needed while nobody can know its id and nothing can interrupt it."""
    private = is_own and steps.config.new_id is None and not intent.announce
    told = exchange.hooks.of("post_create") or exchange.hooks.of("post_finish")  # those hear of it while it runs on
    if private and isinstance(exchange.body, Buffered) and not told:
        return unlocked(exchange.runtime, exchange.body)
    return steps.locked(exchange, info.id)
