"""Flags that say who is told of uploads, and asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import click

from tuspy_server.cli.flags import flag
from tuspy_server.cli.values import DURATION, EVENTS, LIST, PATH, SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEvents:
    heading: ClassVar[str] = "Hooks"

    hooks_enabled_events: tuple[str, ...] = flag(
        ("pre-create", "post-create", "post-receive", "post-terminate", "post-finish"),
        "Events to tell, separated by commas; also pre-access, pre-finish, pre-terminate.",
        kind=EVENTS,
    )
    progress_hooks_interval: float = flag(1.0, "Time between two post-receive events of an upload.", kind=DURATION)
    hooks_timeout: float = flag(30.0, "How long a hook that only informs may take.", kind=DURATION)
    pre_hooks_timeout: float = flag(
        0.0, "How long a hook that decides may take before its request fails; 0: as long as it likes.", kind=DURATION
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandHook:
    heading: ClassVar[str] = "Hooks by executables"

    hooks_dir: str = flag("", "Directory of executables named as the events.", kind=PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHook:
    heading: ClassVar[str] = "Hooks by HTTP"

    hooks_http: str = flag("", "URL that events are sent to.", metavar="URL")
    hooks_http_forward_headers: tuple[str, ...] = flag(
        (), "Fields of the client's request to send along, separated by commas.", kind=LIST
    )
    hooks_http_retry: int = flag(3, "Attempts after the first one failed.", kind=click.IntRange(0))
    hooks_http_backoff: float = flag(1.0, "Time to wait before the next attempt.", kind=DURATION)
    hooks_http_timeout: float = flag(15.0, "How long one attempt may take.", kind=DURATION)
    hooks_http_size_limit: int = flag(5120, "Largest answer that is read.", kind=SIZE)
    hooks_http_skip_verify: bool = flag(False, "Trust any certificate.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcHook:
    heading: ClassVar[str] = "Hooks by gRPC"

    hooks_grpc: str = flag("", "Address that events are sent to.", metavar="HOST:PORT")
    hooks_grpc_forward_headers: tuple[str, ...] = flag(
        (), "Fields of the client's request to send along, separated by commas.", kind=LIST
    )
    hooks_grpc_retry: int = flag(3, "Attempts after the first one failed.", kind=click.IntRange(0))
    hooks_grpc_backoff: float = flag(1.0, "Time to wait before the next attempt.", kind=DURATION)
    hooks_grpc_timeout: float = flag(15.0, "How long one attempt may take.", kind=DURATION)
    hooks_grpc_secure: bool = flag(False, "Use TLS.")
    hooks_grpc_server_tls_certificate: str = flag("", "Certificate to trust, PEM, instead of the system's.", kind=PATH)
    hooks_grpc_client_tls_certificate: str = flag("", "Certificate to show, PEM.", kind=PATH)
    hooks_grpc_client_tls_key: str = flag("", "Private key of that certificate, PEM.", kind=PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginHook:
    heading: ClassVar[str] = "Hooks by Python"

    hooks_plugin: str = flag("", "Object with functions named as the events.", metavar="MODULE:OBJECT")
