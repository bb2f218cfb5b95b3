"""From settings to hooks: every transport that was named, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tuspy_server.cli.errors import SettingsError, extra
from tuspy_server.cli.hook_settings import GrpcHook, HttpHook
from tuspy_server.cli.settings import Settings
from tuspy_server.hooks.events import Hooks
from tuspy_server.hooks.plugin import PluginHooks
from tuspy_server.hooks.transport import DescribeStorage, Transport, storage_of
from tuspy_server.interfaces import DataStore


def make_hooks(settings: Settings, store: DataStore, until: ExitStack) -> Hooks:
    """Hooks of all transports, which are closed with `until`. Raises SettingsError."""
    hooks = Hooks()
    events = settings.hook_events.hooks_enabled_events
    for transport in _transports(settings, events, storage_of(store)):
        until.callback(transport.close)
        hooks |= Hooks(**transport.hooks())
    if settings.plugin_hook.hooks_plugin:
        with extra("--hooks-plugin", "hooks"):
            plugin = PluginHooks(settings.plugin_hook.hooks_plugin, events=events)
            until.callback(plugin.close)
            hooks |= Hooks(**plugin.hooks())
    return hooks


def receivers(settings: Settings) -> list[str]:
    """Who is told, for people."""
    named = [
        settings.command_hook.hooks_dir,
        settings.http_hook.hooks_http,
        settings.grpc_hook.hooks_grpc,
        settings.plugin_hook.hooks_plugin,
    ]
    return [name for name in named if name]


def _transports(settings: Settings, events: tuple[str, ...], describe: DescribeStorage | None) -> Iterator[Transport]:
    if directory := settings.command_hook.hooks_dir:
        from tuspy_server.hooks.command import CommandHooks

        with extra("--hooks-dir", "hooks"):
            yield CommandHooks(directory, events=events, describe_storage=describe)
    if settings.http_hook.hooks_http:
        with extra("--hooks-http", "hooks"):
            yield _http(settings.http_hook, events, describe)
    if settings.grpc_hook.hooks_grpc:
        with extra("--hooks-grpc", "hooks"):
            yield _grpc(settings.grpc_hook, events, describe)


def _http(wanted: HttpHook, events: tuple[str, ...], describe: DescribeStorage | None) -> Transport:
    from tuspy_server.hooks.http import HttpHooks

    return HttpHooks(
        wanted.hooks_http,
        events=events,
        forward_headers=wanted.hooks_http_forward_headers,
        retries=wanted.hooks_http_retry,
        backoff=wanted.hooks_http_backoff,
        timeout=wanted.hooks_http_timeout,
        size_limit=wanted.hooks_http_size_limit,
        verify=not wanted.hooks_http_skip_verify,
        describe_storage=describe,
    )


def _grpc(wanted: GrpcHook, events: tuple[str, ...], describe: DescribeStorage | None) -> Transport:
    from tuspy_server.hooks.grpc import GrpcHooks, Tls

    files = {
        "server_certificate": wanted.hooks_grpc_server_tls_certificate or None,
        "client_certificate": wanted.hooks_grpc_client_tls_certificate or None,
        "client_key": wanted.hooks_grpc_client_tls_key or None,
    }
    if any(files.values()) and not wanted.hooks_grpc_secure:
        raise SettingsError("certificates for --hooks-grpc need --hooks-grpc-secure")
    return GrpcHooks(
        wanted.hooks_grpc,
        events=events,
        forward_headers=wanted.hooks_grpc_forward_headers,
        retries=wanted.hooks_grpc_retry,
        backoff=wanted.hooks_grpc_backoff,
        timeout=wanted.hooks_grpc_timeout,
        tls=Tls(**files) if wanted.hooks_grpc_secure else None,
        describe_storage=describe,
    )
