"""From settings to a configuration and an app."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tuspy_server.asgi import ASGIApp
from tuspy_server.cli.errors import SettingsError
from tuspy_server.cli.flags import flag_name
from tuspy_server.cli.hooking import make_hooks
from tuspy_server.cli.settings import CrossOrigin, Settings
from tuspy_server.cli.storage import check_storage, make_composer
from tuspy_server.cli.values import PRIVATE
from tuspy_server.config import Config, Cors, Origins

if TYPE_CHECKING:
    from tuspy_server.observability.observer import Observer

_PRIVATE = ("127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
_ANYONE = frozenset({"*", ".*"})
_PLAIN_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?", re.ASCII)


def make_app(settings: Settings, until: ExitStack, observers: Sequence[Observer] = ()) -> ASGIApp:
    """The app that the flags describe; what it holds open is closed with `until`.

    Raises SettingsError; StoreError or OSError where storage cannot be used.
    """
    config = make_config(settings)
    check_storage(settings)
    composer = make_composer(settings)
    return ASGIApp(composer, config, hooks=make_hooks(settings, composer.store, until), observers=observers)


def make_config(settings: Settings) -> Config:
    """Raises SettingsError for values that cannot go together."""
    uploads, timeouts, location, hooks = settings.uploads, settings.timeouts, settings.location, settings.hook_events
    _check(settings)
    try:
        return Config(
            base_path=settings.listening.base_path,
            base_url=location.base_url or None,
            relative_location=location.relative_location,
            trusted_proxies=_trusted(settings),
            max_size=uploads.max_size or None,
            max_open_uploads=settings.caps.max_open_uploads or None,
            max_running_requests=settings.caps.max_running_requests or None,
            max_appends=settings.caps.max_appends or None,
            min_rate=settings.caps.min_rate or None,
            max_lifetime=settings.caps.max_lifetime or None,
            expires_after=uploads.expires_after or None,
            sliding=uploads.sliding,
            tombstone_period=uploads.tombstone_period,
            acquire_lock_timeout=timeouts.acquire_lock_timeout,
            network_timeout=timeouts.network_timeout,
            hook_timeout=hooks.hooks_timeout,
            pre_hook_timeout=hooks.pre_hooks_timeout or None,
            post_receive_interval=hooks.progress_hooks_interval,
            cors=_cors(settings.cross_origin),
            download=not uploads.disable_download,
            termination=not uploads.disable_termination,
            concatenation=not uploads.disable_concatenation,
            unversioned=uploads.unversioned,
            interim_responses=uploads.interim_responses,
            kernel_moves=uploads.kernel_moves,
        )
    except ValueError as exc:
        raise SettingsError(re.sub(r"Config\.(\w+)", lambda found: flag_name(found[1]), str(exc))) from exc


def _check(settings: Settings) -> None:
    if settings.uploads.sliding and not settings.uploads.expires_after:
        raise SettingsError("--sliding needs --expires-after")
    if settings.caps.max_lifetime and not settings.uploads.expires_after:
        raise SettingsError("--max-lifetime needs --expires-after")
    positive = {
        "network_timeout": settings.timeouts.network_timeout,
        "acquire_lock_timeout": settings.timeouts.acquire_lock_timeout,
        "hooks_timeout": settings.hook_events.hooks_timeout,
    }
    for name, value in positive.items():
        if not value:
            raise SettingsError(f"{flag_name(name)} must be longer than 0")
    if bool(settings.tls.tls_certificate) is not bool(settings.tls.tls_key):
        raise SettingsError("--tls-certificate and --tls-key need each other")


def _trusted(settings: Settings) -> Sequence[str]:
    location = settings.location
    if not location.behind_proxy:
        return ()
    if settings.listening.unix_sock:
        return ("*",)  # who can reach the socket is a matter of its permissions
    return [network for name in location.trusted_proxies for network in (_PRIVATE if name == PRIVATE else [name])]


def _cors(wanted: CrossOrigin) -> Cors:
    origins = _origins(wanted.cors_allow_origin)
    if wanted.cors_allow_credentials and origins == "*":
        raise SettingsError("--cors-allow-credentials needs --cors-allow-origin: not every site may act for the user")
    return Cors(
        enabled=not wanted.disable_cors,
        allow_origins=origins,
        allow_credentials=wanted.cors_allow_credentials,
        extra_methods=wanted.cors_allow_methods,
        extra_headers=wanted.cors_allow_headers,
        extra_expose=wanted.cors_expose_headers,
        max_age=int(wanted.cors_max_age),
    )


def _origins(wanted: Sequence[str]) -> Origins:
    """A plain origin means itself: its dots are no wildcards, as they would be in a regular expression."""
    if any(origin in _ANYONE for origin in wanted):
        return "*"
    if all(_PLAIN_ORIGIN.fullmatch(origin) for origin in wanted):
        return tuple(wanted)
    patterns = [re.escape(origin) if _PLAIN_ORIGIN.fullmatch(origin) else f"(?:{origin})" for origin in wanted]
    return re.compile("|".join(patterns))
