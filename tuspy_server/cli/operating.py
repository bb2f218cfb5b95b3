"""What operators do with a store without serving it: list, show, remove, sweep."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tuspy_server.callers import InlineCaller, run_sync
from tuspy_server.cli.build import make_config
from tuspy_server.cli.errors import SettingsError
from tuspy_server.cli.hooking import make_hooks
from tuspy_server.cli.settings import Settings
from tuspy_server.cli.storage import check_storage, make_composer
from tuspy_server.cli.watching import Table, say, watched
from tuspy_server.composer import Composer
from tuspy_server.engine.body import EMPTY_BODY
from tuspy_server.engine.hooking import inform
from tuspy_server.engine.locking import Locked
from tuspy_server.errors import UploadGone, UploadNotFound
from tuspy_server.models import State, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.runtime import Runtime
from tuspy_server.stores.auditing import Lister
from tuspy_server.wsgi import WSGIApp

REFUSED = 1
LOCK_TIMEOUT = 5.0  # seconds that a request which holds the upload has to let go


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which uploads to list. Ages are seconds since creation; 0 does not ask."""

    states: tuple[str, ...] = ()
    older_than: float = 0.0
    newer_than: float = 0.0

    def has(self, info: UploadInfo, now: datetime) -> bool:
        age = now - info.created
        return (
            (not self.states or info.state.value in self.states)
            and (not self.older_than or age > timedelta(seconds=self.older_than))
            and (not self.newer_than or age < timedelta(seconds=self.newer_than))
        )


def composed(settings: Settings) -> Composer:
    """The store that serving with these settings would use; a directory is not made.

    Raises SettingsError, StoreError, OSError.
    """
    check_storage(settings)
    in_files = not (settings.s3.s3_bucket or settings.gcs.gcs_bucket or settings.azure.azure_storage)
    if in_files and not os.path.isdir(settings.files.upload_dir):
        raise OSError(f"{settings.files.upload_dir} is not a directory")
    return make_composer(settings)


def uploads(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    """Print the uploads, a line for each."""
    store = composed(settings).store
    if not isinstance(store, Lister):
        raise SettingsError(f"{type(store).__name__} cannot list its uploads")
    now = datetime.now(UTC)
    found = (info for info in watched("reading", store.uploads()) if wanted.has(info, now))
    if as_json:
        for info in found:
            say(json.dumps(described(info)))
    else:
        _print_table(found, now)
    return 0


def _print_table(found: Iterable[UploadInfo], now: datetime) -> None:
    table = Table(("ID", "STATE", "OFFSET", "LENGTH", "AGE", "EXPIRES", "NAME"))
    for info in found:
        table.add(
            info.id,
            info.state.value,
            str(info.offset),
            "?" if info.length is None else str(info.length),
            span(now - info.created),
            "-" if info.expires is None else span(info.expires - now),
            info.metadata.get("filename", ""),
        )
    table.show()


def span(time: timedelta) -> str:
    """A time in its largest unit, as 3d, 12m, -5s."""
    seconds = int(time.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if abs(seconds) >= size:
            return f"{int(seconds / size)}{unit}"
    return f"{seconds}s"


def described(info: UploadInfo) -> dict[str, object]:
    """What the store knows of an upload, as JSON has it; bytes that are no UTF-8 are escaped."""
    return {
        "id": info.id,
        "state": info.state.value,
        "kind": info.kind.value,
        "protocol": info.protocol,
        "offset": info.offset,
        "length": info.length,
        "created": info.created.isoformat(),
        "expires": info.expires.isoformat() if info.expires else None,
        "principal": info.principal,
        "metadata": dict(info.metadata),
        "server_metadata": dict(info.server_metadata),
        "storage": dict(info.storage),
        "parts": list(info.parts),
        "undelivered": list(info.undelivered),
    }


def show(settings: Settings, upload_id: str, *, as_json: bool) -> int:
    """Print one upload. Raises UploadNotFound, UploadGone."""
    runtime = Runtime(composed(settings), InlineCaller())
    fields = described(run_sync(runtime.get(upload_id)))
    if as_json:
        say(json.dumps(fields))
        return 0
    for name, value in fields.items():
        if isinstance(value, dict):
            for key, each in value.items():
                say(f"{name}.{key}: {_plain(each)}")
        elif value not in (None, [], ""):
            say(f"{name}: {', '.join(value) if isinstance(value, list) else _plain(value)}")
    return 0


def _plain(value: object) -> str:
    """On one line, without what would act on a terminal."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)


def remove(settings: Settings, upload_ids: Iterable[str], *, now: bool) -> int:
    """Remove uploads under their locks, with the hooks told; with `now` no tombstone stays.

    One that is finishing is left alone. Returns 1 if any could not be removed.
    """
    code = 0
    with ExitStack() as until:
        app = _app(settings, until)
        for upload_id in upload_ids:
            why = run_sync(_remove(app, upload_id, now=now))
            say(f"{'removed' if why is None else why} {upload_id}")
            code = code if why is None else REFUSED
    return code


async def _remove(app: WSGIApp, upload_id: str, *, now: bool) -> str | None:
    """What kept it from being removed; None if it was."""
    runtime = Runtime(app.composer, InlineCaller())
    exchange = app.engine.own_exchange(runtime)
    async with Locked(runtime, (upload_id,), EMPTY_BODY, LOCK_TIMEOUT) as held:
        try:
            info = await runtime.get(upload_id)
        except UploadGone:
            return "already gone:"
        except UploadNotFound:
            return "not found:"
        if rules.is_finishing(info):
            return "finishing, left alone:"
        if now:
            await runtime.terminate(info)
        else:
            await app.engine.remove(exchange, info, held)
        await inform(exchange, "post_terminate", info)
        return None


def sweep(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """Do once what a serving process does at every --sweep-interval, and print what was done to whom."""
    with ExitStack() as until:
        swept = _app(settings, until).sweep(dry_run=dry_run)
    for each in swept:
        say(json.dumps({"id": each.id, "action": each.action}) if as_json else f"{each.action} {each.id}")
    return REFUSED if any(each.action == "failed" for each in swept) else 0


def _app(settings: Settings, until: ExitStack) -> WSGIApp:
    config = make_config(settings)
    composer = composed(settings)
    return WSGIApp(composer, config, hooks=make_hooks(settings, composer.store, until))


def states() -> Iterator[str]:
    """The names of states as --state takes them."""
    return (state.value for state in State)
