"""Bytes for an upload that exists."""

from __future__ import annotations

import logging

from tuspy_server.engine.body import Body
from tuspy_server.engine.concatenating import assemble_waiting
from tuspy_server.engine.exchange import After, Exchange, Reply
from tuspy_server.engine.finishing import deliver
from tuspy_server.engine.receiving import receive
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import BodyTooLarge, TusError
from tuspy_server.models import UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.intents import Append
from tuspy_server.protocol.merge import merge

log = logging.getLogger("tuspy_server")


async def append(steps: Steps, exchange: Exchange, intent: Append) -> Reply:
    runtime = exchange.runtime
    await steps.admit(exchange, intent.id)
    async with steps.locked(exchange, intent.id) as held:
        info = await steps.load(exchange, intent.id)
        plan = rules.plan_append(intent, info, runtime.now())
        failure: TusError | None = None
        if rules.is_complete(info) or rules.is_finishing(info):
            await _refuse_content(exchange.body)
            rules.check_empty_body(intent)
            info = await steps.ended(exchange, info, held)
        else:
            if plan.declare is not None:
                info = exchange.upload = await runtime.declare_length(info, plan.declare)
            if intent.content.present:
                info, failure = await receive(exchange, info, held, intent.checksum)
                exchange.upload = info
            info = await steps.conclude(exchange, intent, info, held, failure)
        if failure is not None:
            raise failure
        after = deliver(exchange, info, held)
    location = exchange.url_of(info.id)
    appended = exchange.dialect.appended(exchange.call, info, location, runtime.now())
    return Reply(response=merge(appended, info.response), after=_both(after, _waiting(steps, exchange, info)))


def _waiting(steps: Steps, exchange: Exchange, info: UploadInfo) -> After | None:
    """Assembling the finals that waited for this part, once its own lock is free."""
    if not info.finals or not rules.is_complete(info):
        return None

    async def after() -> None:
        for final_id in info.finals:
            try:
                await assemble_waiting(exchange, final_id, steps.backoff)
            except TusError as exc:  # the next HEAD on the final tries again
                log.warning("assembling a final upload failed: %s", exc.code)

    return after


async def _refuse_content(body: Body) -> None:
    """An upload that is full takes no byte more; with a chunked body only reading tells."""
    if await body.read() is not None:
        raise BodyTooLarge


def _both(first: After | None, second: After | None) -> After | None:
    if first is None or second is None:
        return first or second

    async def after() -> None:
        await first()
        await second()

    return after
