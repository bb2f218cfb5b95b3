"""Bytes for an upload that exists."""

from __future__ import annotations

import logging

from tuspy_server.engine.body import Body
from tuspy_server.engine.concatenating import assembling
from tuspy_server.engine.exchange import Exchange, Reply
from tuspy_server.engine.finishing import deliver
from tuspy_server.engine.locking import Locked
from tuspy_server.engine.receiving import receive
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import BodyTooLarge, TusError
from tuspy_server.models import Response, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.intents import Append

log = logging.getLogger("tuspy_server")


async def append(steps: Steps, exchange: Exchange, intent: Append) -> Reply:
    runtime = exchange.runtime
    await steps.admit(exchange, intent.id)
    if steps.caps is not None:
        steps.caps.check_appends(intent.id)
    async with steps.locked(exchange, intent.id) as held:
        info = await steps.load(exchange, intent.id)
        if steps.caps is not None:
            steps.caps.count_append(intent.id)
        plan = await _planned(steps, exchange, intent, info, held)
        failure: TusError | None = None
        if rules.is_complete(info) or rules.is_finishing(info):
            await _refuse_content(exchange.body)
            rules.check_empty_body(intent)
            info = await steps.ended(exchange, info, held)
        else:
            if plan.declare is not None:
                info = exchange.upload = await runtime.declare_length(info, plan.declare)
            if intent.content.present:
                info, failure = await receive(exchange, info, held, intent)
                exchange.upload = info
                await _invalidate(steps, exchange, intent, info, held, failure)
            info = await steps.conclude(exchange, intent, info, held, failure)
        if failure is not None:
            raise failure
        after = deliver(exchange, info, held)
    return Reply(response=_answer(exchange, info), after=after or assembling(steps, exchange, info))


def _answer(exchange: Exchange, info: UploadInfo) -> Response:
    location, now = exchange.url_of(info.id), exchange.runtime.now()
    if rules.is_complete(info):
        return exchange.dialect.completed(exchange.call, info, info.response, location, now)
    return exchange.dialect.appended(exchange.call, info, location, now)


async def _planned(
    steps: Steps, exchange: Exchange, intent: Append, info: UploadInfo, held: Locked
) -> rules.AppendPlan:
    try:
        return rules.plan_append(intent, info, exchange.runtime.now())
    except BodyTooLarge as exc:
        await _invalidate(steps, exchange, intent, info, held, exc)
        raise


async def _invalidate(
    steps: Steps, exchange: Exchange, intent: Append, info: UploadInfo, held: Locked, failure: TusError | None
) -> None:
    """End an upload whose client sent more than it said there was, where the draft wants it so; raises `failure`."""
    if failure is not None and rules.is_invalidated(intent, info, failure):
        log.warning("an upload got more than its length and was removed")
        await steps.bury(exchange, info, held, failure)
        raise failure


async def _refuse_content(body: Body) -> None:
    """An upload that is full takes no byte more; with a chunked body only reading tells."""
    if await body.read() is not None:
        raise BodyTooLarge
