"""A new upload, with or without its first bytes."""

from __future__ import annotations

import os

from tuspy_server.engine.body import Buffered
from tuspy_server.engine.exchange import Exchange, Reply
from tuspy_server.engine.finishing import deliver
from tuspy_server.engine.hooking import decide, inform
from tuspy_server.engine.informing import announce
from tuspy_server.engine.locking import Locked, unlocked
from tuspy_server.engine.receiving import receive
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import StopUpload, SyncFailed, TusError
from tuspy_server.models import Limits, Response, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.intents import Create
from tuspy_server.protocol.merge import merge


async def create(steps: Steps, exchange: Exchange, intent: Create) -> Reply:
    limits = rules.limits_for(steps.config, await steps.max_size(exchange))
    rules.check_create(intent, limits)
    record = new_record(steps, exchange, intent, limits)
    info, response = await decide(exchange, "pre_create", record)
    async with _reserved(steps, exchange, intent, info, is_own=info.id == record.id) as held:
        info = exchange.upload = await _created(steps, exchange, info)
        await inform(exchange, "post_create", info)
        failure: TusError | None = None
        await announce(exchange, intent, info)
        if intent.content.present:
            info, failure = await receive(exchange, info, held, intent)
            exchange.upload = info
        if failure is not None and rules.is_stillborn(intent, failure):
            await steps.bury(exchange, info, held, failure)
            raise failure
        info = await steps.conclude(exchange, intent, info, held, failure)
        if failure is not None and isinstance(failure, StopUpload | SyncFailed):
            raise failure
        after = deliver(exchange, info, held)
    return Reply(response=_answer(exchange, info, failure, response), after=after, failed=failure is not None)


async def _created(steps: Steps, exchange: Exchange, info: UploadInfo) -> UploadInfo:
    if steps.caps is None:
        return await exchange.runtime.create(info)
    is_counted = steps.caps.open(exchange.request, info, exchange.runtime.now())
    try:
        return await exchange.runtime.create(info)
    except BaseException:
        if is_counted:
            steps.caps.ended(info.id)
        raise


def _answer(exchange: Exchange, info: UploadInfo, failure: TusError | None, given: Response | None) -> Response:
    """The answer to a creation, with what `pre_create` wanted said; `pre_finish` has the last word."""
    location, now = exchange.url_of(info.id), exchange.runtime.now()
    if rules.is_complete(info):
        completed = exchange.dialect.completed(exchange.call, info, info.response, location, now)
        return completed if info.response is not None else merge(completed, given)
    if failure is not None:
        return exchange.dialect.interrupted(exchange.call, info, failure, location, now)
    return merge(exchange.dialect.created(exchange.call, info, location, now), given)


def new_record(steps: Steps, exchange: Exchange, intent: Create, limits: Limits) -> UploadInfo:
    now = exchange.runtime.now()
    new_id = steps.config.new_id
    return UploadInfo(
        id=os.urandom(16).hex() if new_id is None else new_id(exchange.request),
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
