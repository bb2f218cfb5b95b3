"""Removing what has expired, and taking up again what a crash left at its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tuspy_server.engine.body import EMPTY_BODY
from tuspy_server.engine.hooking import inform
from tuspy_server.engine.locking import Locked
from tuspy_server.errors import TusError, UploadGone, UploadLocked
from tuspy_server.models import State, UploadInfo
from tuspy_server.protocol import rules

if TYPE_CHECKING:
    from tuspy_server.engine import Engine
    from tuspy_server.runtime import Runtime

log = logging.getLogger("tuspy_server")

Action = Literal["removed", "forgotten", "finished", "kept", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, or would do, to one upload. `forgotten` is a tombstone whose time was over."""

    id: str
    action: Action


async def sweep(engine: Engine, runtime: Runtime, *, dry_run: bool = False) -> list[Swept]:
    """Remove expired uploads and tombstones, finish what is finishing, deliver what is owed.

    Takes each upload's lock without asking anybody to let go: what is in use is not expired. Never removes a
    finished or finishing upload. One upload's trouble is logged and does not end the sweep.
    """
    return [await _sweep_one(engine, runtime, info, dry_run) for info in await runtime.expired()]


async def _sweep_one(engine: Engine, runtime: Runtime, info: UploadInfo, dry_run: bool) -> Swept:
    try:
        async with Locked(runtime, (info.id,), EMPTY_BODY, 0) as held:
            return Swept(info.id, await _act(engine, runtime, info, held, dry_run))
    except UploadLocked:
        return Swept(info.id, "busy")
    except TusError as exc:
        log.warning("the sweep could not handle an upload: %s", exc)
        return Swept(info.id, "failed")


async def _act(engine: Engine, runtime: Runtime, listed: UploadInfo, held: Locked, dry_run: bool) -> Action:
    exchange = engine.own_exchange(runtime)
    try:
        info = await runtime.get(listed.id)
    except UploadGone:
        if listed.state is not State.GONE:
            raise
        if not dry_run:
            await runtime.terminate(replace(listed, expires=None))
        return "forgotten"
    now = runtime.now()
    if rules.is_expired(info, now) or rules.is_outlived(info, engine.config.max_lifetime, now):
        if not dry_run:
            await engine.remove(exchange, info, held)
            await inform(exchange, "post_terminate", info)
        return "removed"
    if rules.is_finishing(info) or info.undelivered:
        if not dry_run:
            await engine.take_up(exchange, info, held)
        return "finished"
    return "kept"
