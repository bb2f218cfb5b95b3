"""From settings to a store, a configuration and an app."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tuspy_server.asgi import ASGIApp
from tuspy_server.cli.settings import CrossOrigin, Proxy, Settings
from tuspy_server.cli.values import PRIVATE
from tuspy_server.composer import Composer
from tuspy_server.config import Config, Cors, Origins
from tuspy_server.lockers.file import FileLocker
from tuspy_server.lockers.memory import MemoryLocker
from tuspy_server.stores.file import FileStore

_PRIVATE = ("127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
_ANYONE = frozenset({"*", ".*"})
_PLAIN_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?", re.ASCII)


class SettingsError(ValueError):
    """Flags that contradict each other, said in one sentence."""


def make_app(settings: Settings) -> ASGIApp:
    """The app that the flags describe. Raises SettingsError, or StoreError where the storage cannot be used."""
    return ASGIApp(make_composer(settings), make_config(settings))


def make_composer(settings: Settings) -> Composer:
    files = settings.files
    try:
        store = FileStore(
            files.upload_dir, durability=files.durability, file_mode=files.file_perms, dir_mode=files.dir_perms
        )
    except OSError as exc:
        raise OSError(f"cannot store in {files.upload_dir}: {exc.strerror or exc}") from exc
    if files.locker == "memory":
        return Composer(store, locker=_OneProcessLocker(store))
    return Composer(store, locker=FileLocker.for_store(store))


def make_config(settings: Settings) -> Config:
    uploads, timeouts = settings.uploads, settings.timeouts
    if uploads.sliding and not uploads.expires_after:
        raise SettingsError("--sliding needs --expires-after")
    for name in ("network_timeout", "acquire_lock_timeout"):
        if not getattr(timeouts, name):
            raise SettingsError(f"--{name.replace('_', '-')} must be longer than 0")
    return Config(
        base_path=settings.listening.base_path,
        trusted_proxies=_trusted(settings.proxy),
        max_size=uploads.max_size or None,
        expires_after=uploads.expires_after or None,
        sliding=uploads.sliding,
        acquire_lock_timeout=timeouts.acquire_lock_timeout,
        network_timeout=timeouts.network_timeout,
        cors=_cors(settings.cross_origin),
        download=not uploads.disable_download,
        termination=not uploads.disable_termination,
        concatenation=not uploads.disable_concatenation,
    )


def check(settings: Settings) -> None:
    """Raise SettingsError for flags that cannot go together."""
    if settings.listening.workers > 1 and settings.files.locker == "memory":
        raise SettingsError("--locker memory sees one process only: use --locker file, or --workers 1")
    make_config(settings)


class _OneProcessLocker(MemoryLocker):
    """Claims the store's directory, so that no second process can use it beside this one."""

    def __init__(self, store: FileStore) -> None:
        super().__init__()
        self._marker = store.exclusive_marker()


def _trusted(proxy: Proxy) -> Sequence[str]:
    if not proxy.behind_proxy:
        return ()
    return [network for name in proxy.trusted_proxies for network in (_PRIVATE if name == PRIVATE else [name])]


def _cors(wanted: CrossOrigin) -> Cors:
    return Cors(enabled=not wanted.disable_cors, allow_origins=_origins(wanted.cors_allow_origin))


def _origins(wanted: Sequence[str]) -> Origins:
    """A plain origin means itself: its dots are no wildcards, as they would be in a regular expression."""
    if any(origin in _ANYONE for origin in wanted):
        return "*"
    if all(_PLAIN_ORIGIN.fullmatch(origin) for origin in wanted):
        return tuple(wanted)
    patterns = [re.escape(origin) if _PLAIN_ORIGIN.fullmatch(origin) else f"(?:{origin})" for origin in wanted]
    return re.compile("|".join(patterns))
