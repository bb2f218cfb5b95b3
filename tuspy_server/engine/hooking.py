"""Running hooks: what may change an upload, and what only informs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import cast

from tuspy_server.engine.exchange import Exchange
from tuspy_server.errors import StopUpload, StoreFailed
from tuspy_server.hooks.events import Hook
from tuspy_server.models import HookEvent, HookResult, Response, UploadInfo
from tuspy_server.protocol.fields import is_metadata_key, write_metadata
from tuspy_server.protocol.resolve import is_valid_id

log = logging.getLogger("tuspy_server")


def apply(info: UploadInfo, result: HookResult) -> UploadInfo:
    """The record with a hook's changes. An id or a metadata key that cannot be is the app's fault: StoreFailed."""
    if result.id is not None:
        if not is_valid_id(result.id):
            raise StoreFailed(f"a hook chose {result.id!r}, which cannot be an upload id")
        info = replace(info, id=result.id)
    if result.metadata is not None:
        if not all(map(is_metadata_key, result.metadata)):
            raise StoreFailed("a hook chose a metadata key that cannot be written into Upload-Metadata")
        info = replace(info, metadata=dict(result.metadata), raw_metadata=write_metadata(result.metadata))
    if result.server_metadata is not None:
        info = replace(info, server_metadata=dict(result.server_metadata))
    if result.storage is not None:
        info = replace(info, storage=dict(result.storage))
    return info


async def decide(exchange: Exchange, hook_type: str, info: UploadInfo) -> tuple[UploadInfo, Response | None]:
    """Run the `pre_` hooks of one event: each sees the changes of those before it, the last answer counts.

    Whatever they raise goes to the client: RejectUpload as its answer, anything else as an error of the app, and so
    does one that takes longer than it may.
    """
    response = None
    for hook in exchange.hooks.of(hook_type):
        result = await _asked(exchange, hook, exchange.event(hook_type, info))
        if result is not None:
            info = apply(info, result)
            response = result.response or response
    return info, response


async def _asked(exchange: Exchange, hook: Hook, event: HookEvent) -> HookResult | None:
    seconds = exchange.config.pre_hook_timeout
    if seconds is None:
        return cast("HookResult | None", await exchange.runtime.ask(hook, event))
    try:
        return await exchange.runtime.ask_within(seconds, hook, event)
    except TimeoutError as exc:
        raise RuntimeError(f"hook {event.type} did not answer within {seconds} seconds") from exc


async def inform(exchange: Exchange, hook_type: str, info: UploadInfo) -> None:
    """Run the `post_` hooks of one event; what they raise is logged and changes nothing.

    StopUpload is passed on, for `post_receive`; elsewhere there is nothing left to stop.
    """
    if hook_type != "post_finish":  # which is told when an upload ends, whether a hook wants to hear of it or not
        tell(exchange, hook_type, info)
    for hook in exchange.hooks.of(hook_type):
        try:
            await exchange.runtime.ask_within(exchange.config.hook_timeout, hook, exchange.event(hook_type, info))
        except StopUpload:
            if hook_type == "post_receive":
                raise
        except Exception:
            log.exception("hook %s failed", hook_type)


def tell(exchange: Exchange, hook_type: str, info: UploadInfo) -> None:
    """Let those who watch know; nothing if nobody does."""
    observer = exchange.runtime.observer
    if observer is not None:
        observer.happened(exchange.event(hook_type, info))
