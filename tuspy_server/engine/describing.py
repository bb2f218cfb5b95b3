"""Where an upload stands, its bytes, its removal, and what the server can do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuspy_server.engine.concatenating import assemble, assembling, parts_of
from tuspy_server.engine.downloading import open_download
from tuspy_server.engine.exchange import After, Exchange, Reply
from tuspy_server.engine.finishing import deliver
from tuspy_server.engine.hooking import decide, inform
from tuspy_server.engine.locking import Locked, WouldWait
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import UploadLocked
from tuspy_server.models import Headers, Response, UploadInfo
from tuspy_server.protocol import draft, rules, tus1
from tuspy_server.protocol.download import plan_download, redirection, representation_headers
from tuspy_server.protocol.intents import Describe, Fetch, Terminate
from tuspy_server.protocol.merge import merge

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime


async def describe(steps: Steps, exchange: Exchange, intent: Describe) -> Reply:
    await steps.admit(exchange, intent.id)
    info = await steps.load(exchange, intent.id)
    after: After | None = None
    if not rules.is_complete(info) or info.undelivered:
        info, after = await _look_closely(steps, exchange, info)
    response = exchange.dialect.described(exchange.call, info, exchange.runtime.now())
    return Reply(response=response, after=after or assembling(steps, exchange, info))


async def _look_closely(steps: Steps, exchange: Exchange, info: UploadInfo) -> tuple[UploadInfo, After | None]:
    """Under the lock: ends a running append, so that the offset stands, and takes up what was left undone.

    That may take long: raises WouldWait where there is something and the runtime may not wait.
    """
    if not exchange.runtime.may_wait and (rules.is_unassembled(info) or rules.is_finishing(info) or info.undelivered):
        raise WouldWait
    try:
        async with _closely_locked(steps, exchange, info) as held:
            info = await steps.load(exchange, info.id)
            if rules.is_unassembled(info):
                parts = await parts_of(exchange, info.parts)
                info = await assemble(exchange, info, parts, held, steps.backoff)
            info = await steps.ended(exchange, info, held)
            return info, deliver(exchange, info, held)
    except UploadLocked:
        if rules.is_complete(info):  # its holder is delivering what is owed
            return info, None
        raise


def _closely_locked(steps: Steps, exchange: Exchange, info: UploadInfo) -> Locked:
    if rules.is_complete(info):  # only something owed to a hook: not worth waiting for
        return Locked(exchange.runtime, (info.id,), exchange.body, 0)
    return steps.locked(exchange, info.id, *(info.parts if rules.is_unassembled(info) else ()))


async def terminate(steps: Steps, exchange: Exchange, intent: Terminate) -> Reply:
    await steps.admit(exchange, intent.id)
    async with steps.locked(exchange, intent.id) as held:
        info = await steps.load(exchange, intent.id)
        info, response = await decide(exchange, "pre_terminate", info)
        await steps.remove(exchange, info, held)

    async def after(runtime: Runtime) -> None:
        await inform(replace(exchange, runtime=runtime), "post_terminate", info)

    is_told = steps.hooks.of("post_terminate") or exchange.runtime.observer is not None
    terminated = exchange.dialect.terminated(exchange.call)
    return Reply(response=merge(terminated, response), after=after if is_told else None)


async def fetch(steps: Steps, exchange: Exchange, intent: Fetch) -> Reply:
    await steps.admit(exchange, intent.id)
    info = await steps.load(exchange, intent.id)
    after: After | None = None
    if not rules.is_complete(info) and info.protocol == rules.RUFH:  # there a GET asks for the offset, as HEAD does
        info, after = await _look_closely(steps, exchange, info)
    if after is not None:  # it holds the lock, and a range that cannot be satisfied would leave it behind
        await after(exchange.runtime)
    described = exchange.dialect.described(exchange.call, info, exchange.runtime.now())
    if not rules.is_complete(info):
        return Reply(response=replace(described, status=204))
    reply = await _downloaded(exchange, info)
    if isinstance(exchange.dialect, draft.Draft) and exchange.dialect.is_named:
        headers = (*reply.response.headers, *_fields_of_state(described))
        reply.response = replace(reply.response, headers=headers)
    return reply


async def _downloaded(exchange: Exchange, info: UploadInfo) -> Reply:
    """The bytes that were asked for, or where the store says that they can be fetched."""
    plan = plan_download(exchange.request, info)
    if plan.span is None:
        return Reply(response=plan.response)
    url = await exchange.runtime.redirect(info, dict(representation_headers(info)))
    if url is not None:
        return Reply(response=redirection(url))
    return Reply(response=plan.response, download=await open_download(exchange.runtime, info, plan.span))


def _fields_of_state(described: Response) -> Headers:
    return tuple(field for field in described.headers if field[0].lower().startswith("upload-"))


async def discover(steps: Steps, exchange: Exchange) -> Reply:
    limits = rules.limits_for(steps.config, await steps.max_size(exchange))
    call = replace(exchange.call, capabilities=replace(exchange.call.capabilities, limits=limits))
    found = {**tus1.discovery(call), **draft.discovery(call)}
    return Reply(response=Response(status=200, headers=tuple(found.items())))
