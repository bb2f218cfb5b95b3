"""`tuspy-server verify`: what is damaged in a store, upload by upload under its lock."""

from __future__ import annotations

import json
from collections.abc import Callable

from tuspy_server.callers import InlineCaller, run_sync
from tuspy_server.cli.errors import SettingsError
from tuspy_server.cli.operating import composed
from tuspy_server.cli.settings import Settings
from tuspy_server.cli.watching import say, watched
from tuspy_server.engine.body import EMPTY_BODY
from tuspy_server.engine.locking import Locked
from tuspy_server.errors import TusError, UploadLocked
from tuspy_server.runtime import Runtime
from tuspy_server.stores.auditing import Audit, Auditor, Damage, Remedy

DAMAGED = 1


def verify(settings: Settings, *, repair: bool, as_json: bool) -> int:
    """Print a line for each damage, and with `repair` what became of it. Returns 1 if a damage is left.

    The store may be served meanwhile: nothing is called damaged that a request has in hand.
    """
    composer = composed(settings)
    store = composer.store
    if not isinstance(store, Auditor):
        raise SettingsError(f"{type(store).__name__} cannot be verified")
    audit, runtime = store.audit(), Runtime(composer, InlineCaller())
    found = left = 0
    for damage in watched("verifying", audit.damages(), audit.count()):
        if damage is None:
            continue
        outcome = _judge(runtime, audit, damage, repair=repair)
        if outcome is None:
            continue
        found += 1
        left += outcome in ("found", "failed", "busy", Remedy.NONE.value)
        _print(damage, outcome, as_json=as_json)
    if not as_json:
        say(f"{found} damaged, {left} left")
    return DAMAGED if left else 0


def _judge(runtime: Runtime, audit: Audit, damage: Damage, *, repair: bool) -> str | None:
    """What became of a damage; None if a second look, with the upload's lock held, no longer finds it."""

    def act() -> str | None:
        if not audit.confirm(damage):
            return None
        if not repair:
            return "found"
        audit.repair(damage)
        return damage.remedy.value

    try:
        return act() if not damage.upload_id else run_sync(_held(runtime, damage.upload_id, act))
    except UploadLocked:
        return "busy"
    except TusError:
        return "failed"


async def _held(runtime: Runtime, upload_id: str, act: Callable[[], str | None]) -> str | None:
    async with Locked(runtime, (upload_id,), EMPTY_BODY, 0):
        return act()


def _print(damage: Damage, outcome: str, *, as_json: bool) -> None:
    if as_json:
        fields = {"problem": damage.problem, "name": damage.name, "detail": damage.detail, "outcome": outcome}
        say(json.dumps({**fields, "remedy": damage.remedy.value}))
    else:
        say(f"{damage.problem} {ascii(damage.name)[1:-1]}: {damage.detail} ({outcome})")
